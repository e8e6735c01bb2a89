from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quantized_networks_of_tests import LEVELS, SMALL, about, network, network_folder, question
from typer import Typer
from typer.testing import CliRunner

from forestgaps_core import load_predictor
from forestgaps_core.errors import CheckpointError, ConfigError, DataError, DiskError, ForestgapsError
from forestgaps_core.files.checkpoint import save_checkpoint
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_quantization.commands import quantize
from forestgaps_quantization.engine import Int8Network
from forestgaps_quantization.folders import quantize_network
from forestgaps_quantization.ranges import LEARNED
from forestgaps_quantization.surfaces import read_raster_surfaces

pytest.importorskip("torchao")
rasterio = pytest.importorskip("rasterio")


def raster(path: Path, size: int = 300, resolution_m: float = 1.0) -> Path:
    dsm, valid, _ = question(size - size % 8 + 8, size - size % 8 + 8)
    values = torch.where(valid, dsm, -9999.0)[0, 0, :size, :size].numpy()
    transform = rasterio.Affine(resolution_m, 0, 0, 0, -resolution_m, size)
    with rasterio.open(
        *(path, "w", "GTiff", size, size, 1),
        crs="EPSG:32632",
        transform=transform,
        dtype="float32",
        nodata=-9999.0,
    ) as file:
        file.write(values.astype(np.float32), 1)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("quantization")
    raster(place / "dsm.tif")
    for name in SMALL:
        network_folder(place / name, name)
        quantize_network(place / name, place / f"{name}-int8", calibrate_with=place / "dsm.tif", tiles=4)
    return place


@pytest.mark.parametrize("name", SMALL)
def test_a_folder_maps_nearly_like_the_network_it_came_from(place: Path, name: str) -> None:
    expected, found = load_predictor(place / name, device="cpu"), load_predictor(place / f"{name}-int8")
    assert (found.thresholds, found.resolution_m) == (expected.thresholds, expected.resolution_m)
    assert getattr(expected.model, "monotone", False) == found.model.monotone
    for rows, columns in ((64, 96), (80, 72)):
        dsm, valid, _ = question(rows, columns, seed=rows)
        difference = (found(dsm, valid, [1.0, 9.0, 4.0]) - expected(dsm, valid, [1.0, 9.0, 4.0])).abs()
        assert 0 < difference.max() < 0.1
        assert difference.mean() < 0.01


def test_processors_without_integers_get_the_same_map(place: Path) -> None:
    engine = load_predictor(place / "height_unet-int8").model
    asked = question(64, 64, seed=3)
    with torch.inference_mode():
        both = [Int8Network(engine.data, engine.program, integers)(*asked).sigmoid() for integers in (False, None)]
    assert (both[0] - both[1]).abs().max() < 2e-3  # a value between two codes may go to either
    assert (both[0] - both[1]).abs().mean() < 1e-5


def test_it_is_data_a_quarter_of_the_size_with_no_path_in_it(place: Path) -> None:
    folder = place / "unet-int8"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.int8.safetensors", "network.json"]
    text = (folder / "network.json").read_text() + (folder / "README.md").read_text()
    assert str(place) not in text
    assert json.loads((folder / "network.json").read_text())["program"]["engine"] == "int8"
    before, after = (place / "unet" / "model.safetensors").stat().st_size, (folder / "model.int8.safetensors").stat().st_size
    assert after < 0.5 * before


def test_it_goes_to_other_processes_and_answers_there_to_the_bit(place: Path) -> None:
    dsm, valid, _ = question(64, 64)
    predictor = load_predictor(place / "ground_unet-int8")
    assert torch.equal(pickle.loads(pickle.dumps(predictor))(dsm, valid), predictor(dsm, valid))
    assert json.loads((place / "ground_unet-int8" / "network.json").read_text())["program"]["sha256"] in str(predictor.model)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sha256": "0" * 64}, "does not have the checksum"),
        ({"file": "../model.int8.safetensors"}, "program.file"),
        ({"file": "gone.safetensors"}, "the network is incomplete"),
        ({"engine": "onnxruntime"}, r"no engine named 'onnxruntime' in forestgaps-quantization"),
    ],
)
def test_a_damaged_folder_is_told(place: Path, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ForestgapsError, match=sentence):
        load_predictor(changed(place / "unet-int8", tmp_path / "damaged", **changes))


def test_a_file_that_asks_for_another_network_is_refused(place: Path, tmp_path: Path) -> None:
    from safetensors.torch import load, save

    from forestgaps_core.inference.model_folder import compute_sha256

    data = (place / "unet-int8" / "model.int8.safetensors").read_bytes()
    for name, sentence in (("body.gone", "do not fit the network"), ("body", "do not fit the network")):
        tensors = load(data)
        for what in ("weight", "weight_scale", "input"):
            tensors[f"{name}.{what}"] = tensors[f"body.down.1.0.branch.4.{what}"].clone()
        about = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["forestgaps"])
        hostile = save(tensors, metadata={"forestgaps": json.dumps(about)})
        folder = changed(place / "unet-int8", tmp_path / name, sha256=compute_sha256(hostile), bytes=len(hostile))
        (folder / "model.int8.safetensors").write_bytes(hostile)
        with pytest.raises(CheckpointError, match=sentence):
            load_predictor(folder)


def changed(quantized: Path, folder: Path, **changes: Any) -> Path:
    plan = json.loads((quantized / "network.json").read_text())
    plan["program"].update(changes)
    folder.mkdir()
    (folder / "model.int8.safetensors").write_bytes((quantized / "model.int8.safetensors").read_bytes())
    (folder / "network.json").write_text(json.dumps(plan))
    return folder


def test_nothing_is_written_where_it_cannot_be_done(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"does not record the data .*--calibrate-with"):
        quantize_network(place / "unet", out)
    with pytest.raises(DataError, match="pixels of 2 m, but the network was trained at 1 m"):
        quantize_network(place / "unet", out, calibrate_with=raster(tmp_path / "coarse.tif", resolution_m=2.0))
    with pytest.raises(CheckpointError, match="no convolution of its network can be quantized with benefit"):
        quantize_network(place / "unet", out, calibrate_with=place / "dsm.tif", tiles=1, keep=["body"])
    with pytest.raises(CheckpointError, match="is exported already"):
        quantize_network(place / "unet-int8", out, calibrate_with=place / "dsm.tif")
    with pytest.raises(DiskError, match="exists"):
        quantize_network(place / "unet", place / "unet-int8", calibrate_with=place / "dsm.tif")
    assert not out.exists()


def test_what_is_reported_is_what_is_lost(place: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(quantize)
    arguments = [str(place / "height_unet"), "--calibrate-with", str(place / "dsm.tif"), "--tiles", "4", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--keep", "body.up"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["engine"], told["ranges"]) == ("int8", "calibration")
    assert told["bytes"] == (tmp_path / "out" / "model.int8.safetensors").stat().st_size
    assert 0 < told["mean_difference"] < told["largest_difference"] < 0.1
    more = load_predictor(place / "height_unet-int8").model
    kept = load_predictor(tmp_path / "out").model
    assert sum("Int8" in type(layer).__name__ for layer in kept.modules()) == told["convolutions"] + 1  # and the network itself
    assert sum("Int8" in type(layer).__name__ for layer in more.modules()) > told["convolutions"] + 1


@pytest.mark.parametrize(("factor", "unit"), [(1 / 0.3048, {"feet": True}), (10, {"scale": 0.1})])
def test_a_surface_in_another_unit_is_read_in_meters(place: Path, tmp_path: Path, factor: float, unit: dict[str, Any]) -> None:
    with rasterio.open(place / "dsm.tif") as file:
        values, profile = file.read(1), file.profile
    with rasterio.open(tmp_path / "other.tif", "w", **{**profile, "nodata": None}) as file:
        file.write(np.where(values == -9999, -9999, values * factor).astype(np.float32), 1)
    expected, _ = read_raster_surfaces(place / "dsm.tif", 1.0, 4)
    found, _ = read_raster_surfaces(tmp_path / "other.tif", 1.0, 4, {**unit, "nodata": -9999.0})
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.valid, other.valid)
        torch.testing.assert_close(one.dsm, other.dsm, rtol=1e-5, atol=1e-3)


def test_the_notes_on_a_surface_are_printed(place: Path, tmp_path: Path) -> None:
    flat = raster(tmp_path / "flat.tif")
    with rasterio.open(flat, "r+") as file:
        values = file.read(1)
        values[values != -9999] = 50 + values[values != -9999] * 0.01
        file.write(values, 1)
    app = Typer()
    app.command()(quantize)
    arguments = [str(place / "unet"), "--calibrate-with", str(flat), "--tiles", "4", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "note: " in done.stderr
    assert "nothing stands more than 3 m" in done.stderr
    with pytest.raises(ConfigError, match=r"--scale=0.1 needs a raster. Add --calibrate-with"):
        CliRunner().invoke(app, [str(place / "unet"), "--scale", "0.1"], catch_exceptions=False)


ONE = "body.down.1.0.branch.4"


def checkpoint(path: Path, ranges: dict[str, Any]) -> Path:
    """Of a run with `quantization_aware` on simulated landscapes."""
    plan = about("unet")
    plan["config"]["data"] = {"name": "landscapes", "train": 1, "validation": 1, "test": 1, "size_px": 64, "tile_px": 32}
    plan["components"]["data"] = {"name": "landscapes", "distribution": "forestgaps-landscapes", "version": "0.1.0"}
    save_checkpoint(path, {"about": plan, "model": network("unet").state_dict(), "callbacks": {"bits": {LEARNED: ranges}}})
    return path


def test_ranges_that_training_learned_are_taken(tmp_path: Path) -> None:
    pytest.importorskip("forestgaps_landscapes")
    run = checkpoint(tmp_path / "best.safetensors", {ONE: torch.tensor([0.0, 2.55, 0.01, 3.0])})
    done = quantize_network(run, tmp_path / "out", tiles=4)
    assert (done.ranges, done.convolutions, done.tiles) == ("training", 1, 4)
    layer = load_predictor(tmp_path / "out").model.network.get_submodule(ONE)
    assert (layer.given.scale, layer.given.zero_point) == (pytest.approx(0.01), 3)
    assert load_predictor(tmp_path / "out").thresholds == LEVELS


@pytest.mark.parametrize(
    "ranges",
    [{ONE: torch.zeros(4)}, {ONE: torch.full((4,), torch.nan)}, {ONE: torch.ones(2)}, {ONE: 3.0}, {"body.gone": torch.ones(4)}],
)
def test_invalid_ranges_are_reported(tmp_path: Path, ranges: dict[str, Any]) -> None:
    pytest.importorskip("forestgaps_landscapes")
    with pytest.raises(CheckpointError, match="the ranges that quantization_aware"):
        quantize_network(checkpoint(tmp_path / "best.safetensors", ranges), tmp_path / "out", tiles=1)
    assert not (tmp_path / "out").exists()


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_a_quantized_network_survives(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "int8"
    leave_draft(out)
    quantize_network(place / next(iter(SMALL)), out, calibrate_with=place / "dsm.tif", tiles=4)
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
