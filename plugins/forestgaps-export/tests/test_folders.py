from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path

import pytest
import torch
from networks_of_tests import network_folder

from forestgaps_core import load_predictor
from forestgaps_core.errors import CheckpointError, ConfigError, DataError, DiskError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_export.folders import export_network
from forestgaps_export.tracing import make_inputs

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    everything = os.environ.get("FORESTGAPS_EXPORTS") == "all"
    name = "ground_unet" if everything else "height_unet"  # which is traced in a third of the time
    return network_folder(tmp_path_factory.mktemp("export") / "network", name, {"slope": 1.5, "offset": -0.25})


@pytest.fixture(scope="module")
def messages() -> Iterator[list[logging.LogRecord]]:
    """What is logged while the network is exported."""
    handler = BufferingHandler(1000)
    logging.getLogger().addHandler(handler)
    yield handler.buffer
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def exported(original: Path, messages: list[logging.LogRecord]) -> Path:
    """The network as ONNX, in a folder with a draft and a file of the user."""
    folder = original.parent / "onnx"
    leave_draft(folder)
    assert export_network(original, folder, "onnx").export.figures["difference_beyond_rounding"] <= 1e-4
    return folder


def test_a_folder_maps_like_the_network_it_came_from(original: Path, exported: Path) -> None:
    dsm, valid, _ = make_inputs(2, 64, 96, 1)
    expected, found = load_predictor(original, device="cpu"), load_predictor(exported)
    assert (found.thresholds, found.resolution_m, found.calibration) == (
        expected.thresholds,
        expected.resolution_m,
        expected.calibration,
    )
    assert (found.model.monotone, found.model.context_m) == (True, getattr(expected.model, "context_m", None))
    for levels in (None, [1.0, 30.0, 4.0]):
        assert (found(dsm, valid, levels) - expected(dsm, valid, levels)).abs().max() < 1e-4
    assert torch.equal(load_predictor(exported / "model.onnx", engine="onnxruntime")(dsm, valid), found(dsm, valid))


def test_it_holds_no_path_and_says_what_it_is(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "mine.tif", "model.onnx", "network.json"]
    plan = json.loads((exported / "network.json").read_text())
    assert plan["program"]["engine"] == "onnxruntime"
    assert "weights" not in plan
    assert str(exported.parent) not in (exported / "network.json").read_text() + (exported / "README.md").read_text()


def test_it_goes_to_other_processes_and_answers_there_to_the_bit(exported: Path) -> None:
    dsm, valid, _ = make_inputs(1, 64, 64, 1)
    predictor = load_predictor(exported)
    assert torch.equal(pickle.loads(pickle.dumps(predictor))(dsm, valid), predictor(dsm, valid))


def test_what_tells_it_from_other_networks_is_its_checksum(exported: Path) -> None:
    assert json.loads((exported / "network.json").read_text())["program"]["sha256"] in str(load_predictor(exported).model)


def test_sides_it_was_not_made_for_are_told(exported: Path) -> None:
    dsm, valid, _ = make_inputs(1, 63, 64, 1)
    with pytest.raises(DataError, match=r"63 x 64 pixels, and the network was exported for multiples of \d+"):
        load_predictor(exported)(dsm, valid)


def test_another_engine_device_or_checkpoint_is_refused(original: Path, exported: Path) -> None:
    with pytest.raises(CheckpointError, match="was exported for the engine onnxruntime, found --engine aoti"):
        load_predictor(exported, engine="aoti")
    with pytest.raises(ConfigError, match="computes on the cpu"):
        load_predictor(exported, device="cuda")
    with pytest.raises(CheckpointError, match="has no checkpoint 'last'"):
        load_predictor(exported, checkpoint="last")
    with pytest.raises(CheckpointError, match="holds weights, which torch runs"):
        load_predictor(original, engine="onnxruntime")


def test_compiled_code_is_opened_only_for_who_names_its_engine(exported: Path, tmp_path: Path) -> None:
    folder = changed(exported, tmp_path / "compiled", engine="aoti")
    with pytest.raises(CheckpointError, match=r"is compiled code, .*say --engine aoti"):
        load_predictor(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sha256": "0" * 64}, "does not have the checksum"),
        ({"file": "../model.onnx"}, "program.file"),
        ({"file": "gone.onnx"}, "the network is incomplete"),
        ({"engine": "tensorrt"}, "no engine named 'tensorrt'"),
        ({"multiple": 0}, "program.multiple"),
    ],
)
def test_a_damaged_folder_is_told(exported: Path, tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    from forestgaps_core.errors import ForestgapsError

    with pytest.raises(ForestgapsError, match=sentence):
        load_predictor(changed(exported, tmp_path / "damaged", **changes))


def test_an_exported_network_is_not_exported_again_nor_written_over(original: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is exported already"):
        export_network(exported, tmp_path / "again", "onnx")
    with pytest.raises(DiskError, match="exists"):
        export_network(original, exported, "onnx")


def changed(exported: Path, folder: Path, **changes: object) -> Path:
    plan = json.loads((exported / "network.json").read_text())
    plan["program"].update(changes)
    folder.mkdir()
    (folder / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    (folder / "network.json").write_text(json.dumps(plan))
    return folder


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_an_export_survives(exported: Path, messages: list[logging.LogRecord]) -> None:
    assert (exported / "mine.tif").read_text() == "mine"
    assert f"{exported}: contains what this program did not write (mine.tif)" in "\n".join(
        map(logging.LogRecord.getMessage, messages)
    )
    assert not locate_draft(exported).exists()
