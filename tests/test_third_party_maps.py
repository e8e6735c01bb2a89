"""A package for what maps and files go through; installed as a wheel, with public names only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import rasterio

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


def test_a_package_with_a_post_processor(machine):
    install(machine)
    (machine.folder / "run.toml").write_text(RUN_FILE)
    assert machine.forestgaps("train", "run.toml", "--out", "run").returncode == 0
    assert machine.forestgaps("simulate", "land", "--size", "150").returncode == 0
    assert "grow" in machine.forestgaps("predict", "--help").stdout

    for out, options in {
        "plain": (),
        "both": ("--postprocess", "smooth", "--postprocess", "grow", "--set", "grow.pixels=2", "--set", "smooth.sigma_m=1.5"),
    }.items():
        done = machine.forestgaps("predict", "run", "land/dsm.tif", "--out", out, "-t", "5,10", *options)
        assert done.returncode == 0, done.stderr
    with rasterio.open(machine.folder / "both" / "gaps.tif") as file:
        gaps, recorded = file.read(), json.loads(file.tags()["FORESTGAPS_POSTPROCESSING"])
    with rasterio.open(machine.folder / "both" / "probabilities.tif") as file:
        smooth = file.read()
    assert [step["name"] for step in recorded] == ["forestgaps-rasters:smooth", "canopy-maps:grow"]
    assert recorded[1] == {"name": "canopy-maps:grow", "version": "0.2.0", "settings": {"pixels": 2}}
    small = (smooth >= 125) & (smooth != 255)
    padded = np.pad(small, ((0, 0), (2, 2), (2, 2)))
    rows, columns = small.shape[1:]
    grown = np.logical_or.reduce([padded[:, r : r + rows, c : c + columns] for r in range(5) for c in range(5)])
    assert np.array_equal(gaps == 1, grown & (smooth != 255))

    wrong = machine.forestgaps(
        "predict", "run", "land/dsm.tif", "--postprocess", "grow", "--postprocess", "smooth", "--out", "wrong"
    )
    assert wrong.returncode == 2
    assert "--postprocess smooth changes probabilities" in wrong.stderr
    wrong = machine.forestgaps(
        "predict", "run", "land/dsm.tif", "--postprocess", "grwo", "--set", "grow.pixels=1", "--out", "wrong"
    )
    assert "no postprocessor named 'grwo' (did you mean 'grow'?)" in wrong.stderr
    assert not list(machine.folder.glob("wrong*"))
    assert "canopy-maps 0.2.0: postprocessor.grow: right" in machine.forestgaps("plugins", "check", "canopy-maps").stdout


def test_a_package_with_a_reader(machine):
    install(machine)
    (machine.folder / "run.toml").write_text(RUN_FILE)
    assert machine.forestgaps("train", "run.toml", "--out", "run").returncode == 0
    assert machine.forestgaps("simulate", "land", "--size", "150").returncode == 0
    for layer in ("dsm", "dtm"):
        with rasterio.open(machine.folder / "land" / f"{layer}.tif") as file:
            np.save(machine.folder / f"{layer}.npy", file.read(1, masked=True).astype(np.float32).filled(np.nan))
            grid = {"x": file.transform.c, "y": file.transform.f, "pixel_size": file.transform.a, "crs": file.crs.to_string()}
            (machine.folder / f"{layer}.json").write_text(json.dumps(grid))

    for out, dsm in {"expected": "land/dsm.tif", "maps": "dsm.npy"}.items():
        done = machine.forestgaps("predict", "run", dsm, "--out", out, "-t", "5,10")
        assert done.returncode == 0, done.stderr
    assert "note: dsm.npy: was read by the reader 'arrays' of canopy-maps 0.2.0" in done.stderr
    found, expected = ((machine.folder / out / "gaps.tif").read_bytes() for out in ("maps", "expected"))
    assert found == expected
    prepared = machine.forestgaps("prepare", "--dsm", "dsm.npy", "--dtm", "dtm.npy", "--out", "prepared", "--buffer", "0")
    assert prepared.returncode == 0, prepared.stderr
    sources = json.loads((machine.folder / "prepared" / "index.json").read_text())["sites"][0]["sources"]
    assert [Path(source["path"]).name for source in sources] == ["dsm.npy", "dtm.npy"]
    assert not list(machine.folder.glob(".*"))

    (machine.folder / "dsm.json").write_text("{}")
    damaged = machine.forestgaps("predict", "run", "dsm.npy", "--out", "damaged")
    assert damaged.returncode == 2
    assert "dsm.npy: is not an array with a grid in dsm.json" in damaged.stderr
    wrong = machine.forestgaps("predict", "run", "dsm.npy", "--set", "arrays.unt=1", "--out", "wrong")
    assert "arrays.unt: unknown key (did you mean 'unit'?)" in wrong.stderr
    assert "canopy-maps 0.2.0: reader.arrays: right" in machine.forestgaps("plugins", "check", "canopy-maps").stdout


def test_a_package_with_sections_of_reports(machine):
    install(machine)
    (machine.folder / "run.toml").write_text(RUN_FILE)
    assert machine.forestgaps("train", "run.toml", "--out", "run").returncode == 0
    assert machine.forestgaps("simulate", "land", "--size", "150").returncode == 0
    predicted = machine.forestgaps("predict", "run", "land/dsm.tif", "--out", "maps", "-t", "5", "--postprocess", "smooth")
    assert predicted.returncode == 0, predicted.stderr

    done = machine.forestgaps("report", "maps", "--dsm", "land/dsm.tif", "--set", "sizes.title='Sizes & more'")
    assert done.returncode == 0, done.stderr
    assert "the report has no section 'Moon': RuntimeError: the moon is full" in done.stderr
    page = (machine.folder / "maps" / "report.html").read_text(encoding="utf-8")
    for text in (
        '<a href="#further-1">Post-processing</a>',
        "sigma_m = 0.5",
        ">Sizes &amp; more</h2>",
        "Sizes of the &lt;files&gt; of the map.",
        "This section could not be made: RuntimeError: the moon is full",
    ):
        assert text in page
    assert page.index("further-1-h") < page.index("further-2-h") < page.index('<section id="data"')
    wrong = machine.forestgaps("report", "maps", "--dsm", "land/dsm.tif", "--set", "sizes.ttle=1", "--out", "wrong.html")
    assert (wrong.returncode, "sizes.ttle: unknown key (did you mean 'title'?)" in wrong.stderr) == (2, True)
    assert not (machine.folder / "wrong.html").exists()
    checked = machine.forestgaps("plugins", "check", "canopy-maps").stdout
    assert "canopy-maps 0.2.0: report_section.sizes: right" in checked
