from __future__ import annotations

import os
import pickle

import pytest
import torch

from forestgaps_core.errors import CheckpointError, DiskError
from forestgaps_core.files.checkpoint import (
    choose_weights,
    drop_training_state,
    load_checkpoint,
    load_newest_checkpoint,
    save_checkpoint,
)

LEAST = {"about": {}, "model": {"w": torch.arange(3)}, "callbacks": {}}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = tmp_path / "checkpoints" / "last.safetensors"
    save_checkpoint(path, {**LEAST, "position": {"epoch": 1, "batch": 2, "step": 4, "stopped": None}})
    state = load_checkpoint(path)
    assert torch.equal(state["model"]["w"], torch.arange(3))
    assert state["position"] == {"epoch": 1, "batch": 2, "step": 4, "stopped": None}
    assert [file.name for file in path.parent.iterdir()] == ["last.safetensors"]


def test_every_flipped_bit_and_every_length_is_noticed(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, LEAST)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path)
        path.write_bytes(whole[:place])
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\0" * len(data)])
def test_a_damaged_checkpoint_is_reported(tmp_path, damage):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"model": {"w": torch.arange(300)}})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


class Payload:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    path, trace = tmp_path / "last.safetensors", tmp_path / "trace"
    torch.save({"format": 1, "model": Payload(trace)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))  # the payload does what it says where it is let
    assert trace.exists()


def test_another_format_and_a_missing_file_are_reported(tmp_path):
    save_checkpoint(tmp_path / "future.safetensors", {**LEAST, "format": 99})
    with pytest.raises(CheckpointError, match="found format 99, this version reads 3"):
        load_checkpoint(tmp_path / "future.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {**LEAST, "step": 1})
    with pytest.raises(CheckpointError, match="was not written, because it could not be loaded again: at 'step': a function"):
        save_checkpoint(path, {**LEAST, "step": lambda: 2})
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="could not be written"):
        save_checkpoint(tmp_path / "file" / "last.safetensors", {"step": 1})


def test_a_disk_without_room_is_reported_with_the_room_needed_and_free(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "last.safetensors"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            DiskError, match=r"last.safetensors could not be written: file too large \(400 kB needed, .*B free on its disk\)"
        ):
            save_checkpoint(path, {"w": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_the_newest_intact_checkpoint_is_found(tmp_path):
    folder = tmp_path / "checkpoints"
    for age, name in enumerate(["last", "best", "older"]):
        save_checkpoint(folder / f"{name}.safetensors", {**LEAST, "name": name})
        os.utime(folder / f"{name}.safetensors", (1000 - age, 1000 - age))
    (folder / "last.safetensors").write_bytes(b"broken")
    os.utime(folder / "last.safetensors", (2000, 2000))
    path, state, damaged = load_newest_checkpoint(tmp_path)
    assert (path.name, state["name"]) == ("best.safetensors", "best")
    assert len(damaged) == 1
    assert "last.safetensors is damaged" in damaged[0]


def test_a_folder_without_an_intact_checkpoint_is_reported(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint to go on from; .*damaged"):
        load_newest_checkpoint(tmp_path)


EMA = {"callback": "average", "key": "ema"}


def weights_state(callbacks, **parts):
    return {"about": {}, "model": {"w": torch.zeros(1)}, "callbacks": callbacks, **parts}


@pytest.mark.parametrize(
    ("callbacks", "parts", "expected"),
    [
        ({"average": {"ema": {"w": torch.ones(1)}}}, {"evaluated_weights": EMA}, 1.0),
        ({"average": {"ema": None}}, {"evaluated_weights": EMA}, 0.0),
        ({"average": {"ema_weights": {"w": torch.ones(1)}}}, {"evaluated_weights": None}, 0.0),
        ({"other": {"ema": {"w": torch.ones(1)}}}, {"evaluated_weights": EMA}, 0.0),
        ({"average": {"ema_weights": {"w": torch.ones(1)}}}, {}, 0.0),
    ],
)
def test_weights_to_use_are_those_that_a_callback_declares(callbacks, parts, expected):
    state = weights_state(callbacks, **parts)
    assert choose_weights(state)["w"].item() == expected
    assert drop_training_state(state)["model"]["w"].item() == expected


@pytest.mark.parametrize("place", ["average", {"callback": "average"}, {"callback": 1, "key": "ema"}, EMA])
def test_a_declaration_of_weights_of_another_form_is_refused(tmp_path, place):
    state = {**LEAST, "callbacks": {"average": {"ema": {"w": "text"}}}, "evaluated_weights": place}
    save_checkpoint(tmp_path / "last.safetensors", state)
    with pytest.raises(CheckpointError, match="evaluated_weights missing or of another type"):
        load_checkpoint(tmp_path / "last.safetensors")
