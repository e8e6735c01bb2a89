"""A package for what maps and files go through; installed as a wheel, with public names only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .conftest import RUN_FILE
from .test_third_party import machine as machine

PACKAGE = Path(__file__).parent / "packages" / "canopy-maps"


def install(machine) -> None:
    source = machine.folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    machine.pip("install", "--no-deps", "--no-build-isolation", str(source))


def test_a_package_with_an_exporter(machine):
    install(machine)
    (machine.folder / "run.toml").write_text(RUN_FILE)
    assert machine.forestgaps("train", "run.toml", "--out", "run").returncode == 0

    assert "weights" in machine.forestgaps("export", "--help").stdout
    done = machine.forestgaps("export", "run", "--to", "weights", "--set", "weights.digits=3", "--out", "other")
    assert done.returncode == 0, done.stderr
    assert "wrote other/weights.json" in done.stdout
    assert sorted(path.name for path in (machine.folder / "other").iterdir()) == ["README.md", "weights.json"]
    written = json.loads((machine.folder / "other" / "weights.json").read_text())
    assert all(value == float(f"{value:.3g}") for value in next(iter(written["weights"].values())))
    card = (machine.folder / "other" / "README.md").read_text()
    assert "| digits | 3 |" in card
    assert "predict" not in card
    (summary,) = [machine.forestgaps("export", "run", "--to", "weights", "--out", "json", "--json").stdout]
    assert json.loads(summary)["tensors"] == len(written["weights"])

    again = machine.forestgaps("export", "run", "--to", "weights", "--out", "other")
    assert (again.returncode, "exists" in again.stderr) == (2, True)
    wrong = machine.forestgaps(
        "export", "run", "--to", "weights", "--set", "weights.digits=0", "--set", "weights.x=1", "--set", "weight.y=1"
    )
    assert wrong.returncode == 2
    for sentence in (
        "export: 3 mistakes",
        "weights.digits: found 0; must be >= 1",
        "weights.x: unknown key",
        "--set weight: --to weight is not chosen (did you mean 'weights'?)",
    ):
        assert sentence in wrong.stderr, wrong.stderr
    unknown = machine.forestgaps("export", "run", "--to", "weihgts")
    assert "no exporter named 'weihgts' (did you mean 'weights'?); there is: onnx, pt2, weights" in unknown.stderr
    shown = machine.forestgaps("plugins", "show", "canopy-maps").stdout
    assert "  exporter.weights  canopy_maps.weights:Weights\n" in shown
    checked = machine.forestgaps("plugins", "check", "canopy-maps").stdout
    assert "canopy-maps 0.2.0: exporter.weights: right" in checked
    assert "digits = 6" in machine.forestgaps("config", "explain", "exporter.weights").stdout
