"""The one command, at its smallest: real simulated landscapes, real training, and a simulated site in the place of the real one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forestgaps_core import load_predictor
from forestgaps_pretrained.retrain import format_retrain_command

NEEDED = ("rasterio", "scipy", "forestgaps_landscapes", "forestgaps_rasters", "forestgaps_losses", "forestgaps_metrics")
needs_all = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in NEEDED), reason="needs forestgaps-pretrained[retrain]"
)
RUN_FILE = Path(__file__).with_name("tiny.toml")
TINY = ["--landscapes", "3", "--size", "96", "--tile", "32", "--run-file", str(RUN_FILE)]


def run_module(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def run_retrain(*options: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_module("forestgaps_pretrained.retrain", "--westport", "site", *options, cwd=cwd)


@pytest.mark.slow
@needs_all
def test_retrain_writes_the_network_folder_and_resumes(tmp_path) -> None:
    site = ["site", "--seed", "5", "--size", "320", "--resolution", "0.5", "--forest", "rainforest"]
    assert run_module("forestgaps_core", "simulate", *site, cwd=tmp_path).returncode == 0
    done = run_retrain("--out", "network", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    network = tmp_path / "network"
    assert sorted(path.name for path in network.iterdir()) == ["README.md", "model.safetensors", "network.json", "scores.json"]

    predictor = load_predictor(network)
    dsm, valid = torch.full((1, 1, 32, 32), 300.0), torch.ones((1, 1, 32, 32), dtype=torch.bool)
    assert predictor(dsm, valid, [2.0, 7.5]).shape == (1, 2, 32, 32)

    scores, text = json.loads((network / "scores.json").read_text()), (network / "README.md").read_text()
    assert {row["area"] for row in scores} == {"simulated open (seed 1002)", "nz_westport, southern half"}
    for row in scores:
        assert f"| {row['area']} | {row['threshold_m']:g} | {row['gap_fraction']:.3f} | {row['network']:.3f} |" in text
    assert "python -m forestgaps_pretrained.retrain --westport FOLDER --out FOLDER --landscapes 3" in text
    for file in network.glob("*.[jm]*"):
        if file.suffix != ".safetensors":
            assert str(tmp_path) not in file.read_text(), f"{file.name} names folders of this machine"

    index = json.loads((tmp_path / "network-work" / "prepared" / "index.json").read_text())
    (real,) = (site for site in index["sites"] if site["name"] == "nz_westport")
    (train,), (test,) = real["blocks"]["train"], real["blocks"]["test"]
    assert train["row"] == 0, "north trains"
    assert test["row"] >= train["rows"] + 20, "the guard of 20 m"

    again = run_retrain("--out", "second", "--work", "network-work", "--trained", "network-work/run", *TINY, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "forestgaps publish" in again.stdout
    assert "forestgaps simulate" not in again.stdout
    assert "forestgaps train" not in again.stdout
    for name in ("model.safetensors", "network.json", "scores.json"):
        assert (tmp_path / "second" / name).read_bytes() == (network / name).read_bytes()

    other = run_retrain("--out", "third", "--work", "network-work", *TINY, "--seed", "7", cwd=tmp_path)
    assert other.returncode == 2
    assert "was made with other settings (seed)" in other.stderr
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--out", "there"], "there exists. Name a folder"),
        (["--out", "network"], "dsm.tif is missing. Give the folder"),
    ],
)
def test_retrain_with_a_mistake_exits_with_2(tmp_path, options, sentence) -> None:
    (tmp_path / "there").mkdir()
    done = run_retrain(*options, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_format_command_keeps_settings_and_omits_folders() -> None:
    said = [
        "--westport",
        "/home/me/site",
        "--out=/home/me/net",
        "--landscapes",
        "60",
        "--set",
        "training.epochs=3",
        "--trained",
        "run",
    ]
    assert format_retrain_command(said) == (
        "python -m forestgaps_pretrained.retrain --westport FOLDER --out FOLDER --landscapes 60 --set training.epochs=3"
    )
    assert format_retrain_command(["--run-file=/home/me/mine.toml", "--no-calibration"]).endswith(
        "FOLDER --run-file mine.toml --no-calibration"
    )
