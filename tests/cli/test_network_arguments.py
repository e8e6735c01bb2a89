"""The installed network wherever a command takes a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from forestgaps_core import save_network
from forestgaps_core.cli.app import app
from forestgaps_core.errors import ForestgapsError
from forestgaps_pretrained import __file__ as package

SMALL = Path(package).parent / "small"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slope with trees of 20 m and one gap of 16 x 16 m."""
    folder = tmp_path_factory.mktemp("site")
    ground = np.linspace(100, 110, 96, dtype=np.float32)[:, None].repeat(96, axis=1)
    height = np.full((96, 96), 20, np.float32) + np.random.default_rng(1).uniform(-2, 2, (96, 96)).astype(np.float32)
    height[40:56, 40:56] = 0
    for name, values in (("dsm", ground + height), ("chm", height)):
        grid = {"crs": "EPSG:32610", "transform": rasterio.Affine(1, 0, 500_000, 0, -1, 5_200_000)}
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=96, height=96, count=1, dtype="float32", **grid
        ) as file:
            file.write(values, 1)
    return folder


def forestgaps(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, ForestgapsError):
        return f"Error: {result.exception}"
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def prepared(site: Path) -> Path:
    out = site / "prepared"
    text = forestgaps("prepare", site, "-o", out, "--tile", 32, "--test", "all")
    assert f"forestgaps evaluate pretrained --data {out}" in text and "train 0 ha, validation 0 ha" in text
    return out


def test_evaluate_takes_a_prepared_folder_as_data(prepared: Path, tmp_path: Path) -> None:
    text = forestgaps("evaluate", "pretrained", "--data", prepared, "-t", 5, "--resamples", 100, "--out", tmp_path / "out")
    assert "gap IoU" in text and "…" not in text
    row = json.loads((tmp_path / "out/evaluation.json").read_text())["rows"][0]
    assert row["gap_fraction"] == pytest.approx(256 / 96**2)


def test_report_takes_a_prepared_folder_as_data(prepared: Path, tmp_path: Path) -> None:
    forestgaps("report", "pretrained", "--data", prepared, "-t", 5, "--out", tmp_path / "page.html")
    assert "false negative (omission" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("test", "pretrained"), "Type: forestgaps evaluate pretrained --data FOLDER"),
        (("evaluate", "pretrained"), "Add --data FOLDER"),
        (("report", "pretrained"), "Add --data FOLDER"),
        (("evaluate", "pretrained", "--data", "."), "forestgaps prepare"),
        (("predict", "pretrained"), "forestgaps predict pretrained DSM.tif"),
        (("predict", "dsm.tif", "pretrained"), "Type: forestgaps predict pretrained dsm.tif"),
        (("predict", "pretraned", "dsm.tif"), "did you mean 'pretrained'?"),
        (("predict", "pretrained", "pretrained", "dsm.tif"), "are both networks"),
        (("predict", "pretrained", "dsm.tif", "--network", "other"), "give one of the two"),
        (("train", "--resume", "pretrained"), "forestgaps train RUN.toml --from pretrained"),
        (("report", "dsm.tif"), "dsm.tif: is a raster, not a run"),
        (("gaps", "."), "is a folder, not a raster. Name the file: chm.tif or dsm.tif"),
    ],
)
def test_commands_that_cannot_use_it_print_what_to_type(site: Path, monkeypatch: pytest.MonkeyPatch, arguments, sentence) -> None:
    monkeypatch.chdir(site)
    assert sentence in forestgaps(*arguments)


def test_predict_takes_its_name_and_its_folder_before_the_dsm(site: Path, tmp_path: Path) -> None:
    for number, network in enumerate(("pretrained", SMALL, SMALL / "model.safetensors")):
        text = forestgaps("predict", network, site / "dsm.tif", "-t", 5, "--out", tmp_path / f"{number}")
        assert f"forestgaps gaps {tmp_path / f'{number}' / 'gaps.tif'}" in text
    maps = [(tmp_path / f"{number}" / "gaps.tif").read_bytes() for number in range(3)]
    assert maps[0] == maps[1] == maps[2]


def test_publish_keeps_card_scores_and_credit(tmp_path: Path) -> None:
    once = save_network("pretrained", tmp_path / "once")
    again = save_network(once, tmp_path / "again")
    for path in SMALL.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_publish_with_other_calibration_keeps_the_card_below_its_own_facts(tmp_path: Path) -> None:
    changed = save_network("pretrained", tmp_path / "changed", calibration={"slope": 1.0, "offset": 0.5})
    card = (changed / "README.md").read_text(encoding="utf-8")
    facts, _, original = card.partition("\n---\n")
    assert "were changed" in facts and original.strip() == (SMALL / "README.md").read_text(encoding="utf-8").strip()
    assert (changed / "scores.json").is_file()
