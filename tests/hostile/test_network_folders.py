"""A model folder from elsewhere: JSON and safetensors, whatever they say."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch

from forestgaps_core import load_predictor, save_network
from forestgaps_core.errors import CheckpointError, ForestgapsError
from forestgaps_core.files.checkpoint import save_checkpoint
from forestgaps_core.inference.model_folder import CARD, PLAN, WEIGHTS

from .payloads import WAYS_IN

ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def safetensors(header: object, data: bytes = bytes(16), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


WEIGHTS_FROM_HELL = {
    "header longer than the file": safetensors({"w": ENTRY}, length=1 << 20),
    "header of exabytes": safetensors({"w": ENTRY}, length=(1 << 63) - 1),
    "header without end": safetensors({"w": ENTRY}, length=(1 << 64) - 1),
    "header of nothing": safetensors(b"", b""),
    "header that is no JSON": safetensors(b"{'w': 1}"),
    "header that is no table": safetensors([1]),
    "header of absurd depth": safetensors(b"[" * 100_000 + b"]" * 100_000),
    "offsets beyond the end": safetensors({"w": {**ENTRY, "data_offsets": [0, 1 << 40]}}),
    "offsets backwards": safetensors({"w": {**ENTRY, "data_offsets": [16, 0]}}),
    "offsets below nought": safetensors({"w": {**ENTRY, "data_offsets": [-16, 0]}}),
    "offsets that overlap": safetensors({"v": ENTRY, "w": {**ENTRY, "data_offsets": [8, 24]}}, bytes(24)),
    "offsets of the same data": safetensors({"v": ENTRY, "w": ENTRY}),
    "a hole for something else": safetensors({"w": ENTRY}, bytes(1000)),
    "a shape that does not fit": safetensors({"w": {**ENTRY, "shape": [1 << 20, 1 << 20]}}),
    "a shape that wraps around": safetensors({"w": {**ENTRY, "shape": [1 << 33, 1 << 33]}}),
    "a shape below nought": safetensors({"w": {**ENTRY, "shape": [-2, -2]}}),
    "a type nobody knows": safetensors({"w": {**ENTRY, "dtype": "PICKLE"}}),
    "a type that is code": safetensors({"w": {**ENTRY, "dtype": "os:system"}}),
    "no file at all": b"",
}


def with_weights(network: Path, data: bytes) -> None:
    """And the right checksum: it keeps accidents out, not people."""
    (network / WEIGHTS).write_bytes(data)
    plan = json.loads((network / PLAN).read_text())
    changed(network, weights={**plan["weights"], "sha256": hashlib.sha256(data).hexdigest()})


def changed(network: Path, **parts: object) -> None:
    plan = json.loads((network / PLAN).read_text())
    (network / PLAN).write_text(json.dumps(plan | parts))


def config_with(network: Path, table: str, **settings: object) -> None:
    config = json.loads((network / PLAN).read_text())["config"]
    changed(network, config={**config, table: {**config.get(table, {}), **settings}})


@pytest.mark.parametrize("what", WEIGHTS_FROM_HELL)
def test_weights_that_lie_are_refused(what, network, local_plugins):
    with_weights(network, WEIGHTS_FROM_HELL[what])
    with pytest.raises(CheckpointError):
        load_predictor(network, plugins=local_plugins)


@pytest.mark.parametrize("way", WAYS_IN)
def test_weights_that_are_code_are_not_run(way, network, state, trap, local_plugins):
    with_weights(network, WAYS_IN[way](state, trap))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_predictor(network, plugins=local_plugins)
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"format": 1, "config": ' * 500 + "1" + "}" * 500,
        "1" * 10_000,
        '{"format": 1e999}',
        '{"format": 1, "resolution_m": NaN}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "null",
        '"trap"',
    ],
    ids=["lists", "tables", "digits", "infinity", "no number", "surrogate", "null", "text"],
)
def test_a_plan_that_is_none_is_refused(text, network, local_plugins):
    (network / PLAN).write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError):
        load_predictor(network, plugins=local_plugins)


@pytest.mark.parametrize("name", ["trap:Config", "trap.Config", "os:system", "../../trap", "forestgaps-core:load_target"])
def test_no_name_in_a_plan_is_imported(name, network, trap, local_plugins):
    for table in ("model", "normalization"):
        config_with(network, table, name=name)
        with pytest.raises(CheckpointError, match=r"no .* named|is not installed|offers no"):
            load_predictor(network, plugins=local_plugins)
    assert not trap.exists()


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/passwd", "trap:Config", "model.safetensors\0.safetensors", ["x"], None]
)
def test_the_file_of_the_weights_is_not_for_the_plan_to_choose(file, network, tmp_path, local_plugins):
    (tmp_path / "secret.safetensors").write_bytes(b"secret")
    plan = json.loads((network / PLAN).read_text())
    changed(network, weights={**plan["weights"], "file": file})
    assert load_predictor(network, plugins=local_plugins).thresholds == (2.0, 5.0, 10.0)


def test_settings_out_of_range_are_refused(network, local_plugins):
    whole = (network / PLAN).read_text()
    for table, settings in (
        ("model", {"width": 10_000_000}),
        ("model", {"width": 1 << 70}),
        ("model", {"width": "4"}),
        ("model", {"_target_": "trap.Config"}),
        ("thresholds", {"values": []}),
        ("thresholds", {"values": [5, 2]}),
        ("thresholds", {"values": [float("nan")]}),
        ("thresholds", {"values": ["2"]}),
        ("environment", {"precision": "os:system"}),
        ("environment", {"device": "trap"}),
        ("training", {"batch_size": -1}),
        ("training", {"batch_size": "8"}),
    ):
        (network / PLAN).write_text(whole)
        config_with(network, table, **settings)
        with pytest.raises(ForestgapsError):
            load_predictor(network, plugins=local_plugins)
    for parts in ({"resolution_m": -1}, {"resolution_m": float("inf")}, {"calibration": {"slope": 1e9}}, {"calibration": "x"}):
        (network / PLAN).write_text(whole)
        changed(network, **parts)
        with pytest.raises(ForestgapsError):
            load_predictor(network, plugins=local_plugins)


def test_the_text_of_a_checkpoint_adds_no_markup_to_the_card(run, state, tmp_path, local_plugins):
    evil = "`<script>alert(1)</script>` | [x](javascript:alert(1))\n# heading\x1b[2J {{7*7}}"
    state["about"]["components"] = {"model": {"name": evil, "distribution": evil, "version": evil}}
    state["about"]["versions"] = {evil: evil}
    save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    card = (save_network(run, tmp_path / "shared", plugins=local_plugins) / CARD).read_text()
    (row,) = [line for line in card.splitlines() if line.startswith("| needs")]
    assert row.count("|") == 3
    assert row.count("`") == 2
    assert not set("<>[](){}\x1b*#") & set(row)
    assert sum(line.startswith("#") for line in card.splitlines()) == 1


def test_a_checkpoint_whose_settings_are_no_plain_values_is_not_shared(run, state, tmp_path, local_plugins):
    state["about"]["config"]["model"]["width"] = state["model"]["last.bias"]
    save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match="no plain value"):
        save_network(run, tmp_path / "shared", plugins=local_plugins)
    assert not (tmp_path / "shared").exists()


# --- writing one ------------------------------------------------------------------------------------------------------


def recast(state: dict, kind: torch.dtype) -> dict:
    return {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in state["model"].items()}


UNUSABLE = {
    "EMA weights that are text": lambda state: dict.fromkeys(state["model"], "x"),
    "complex numbers": lambda state: recast(state, torch.complex64),
    "one missing": lambda state: dict(list(state["model"].items())[1:]),
    "one too many": lambda state: {**state["model"], "more": torch.zeros(3)},
    "another shape": lambda state: {name: torch.zeros(7, 7) for name in state["model"]},
    "a name that is not Unicode": lambda state: {**state["model"], "\udc80": torch.zeros(3)},
    "a name that leads elsewhere": lambda state: {**state["model"], "../../x\n": torch.zeros(3)},
    "float8 that is not finite": lambda state: recast(
        {"model": {name: tensor * float("nan") for name, tensor in state["model"].items()}}, torch.float8_e4m3fn
    ),
}


@pytest.mark.parametrize("place", ["model", "EMA weights"])
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_folder_that_could_not_be_used_is_not_written(what, place, run, state, tmp_path, local_plugins):
    with_last(run, state, UNUSABLE[what](state), place)
    with pytest.raises(CheckpointError):
        save_network(run, tmp_path / "shared", plugins=local_plugins)
    assert not [path for path in tmp_path.iterdir() if "shared" in path.name]


@pytest.mark.parametrize("place", ["model", "EMA weights"])
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_any_float_are_written(kind, place, run, state, tmp_path, local_plugins):
    with_last(run, state, recast(state, kind), place)
    folder = save_network(run, tmp_path / "shared", plugins=local_plugins)
    load_predictor(folder, plugins=local_plugins)


def with_last(run: Path, state: dict, weights: dict, place: str) -> None:
    if place == "model":
        state = {**state, "model": weights}
    else:
        state |= {"callbacks": {"ema": {"kept": weights}}, "evaluated_weights": {"callback": "ema", "key": "kept"}}
    try:
        save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    finally:
        (run / "checkpoints" / "best.safetensors").unlink(missing_ok=True)


def test_a_setting_that_does_not_survive_the_writing_is_noticed(run, state, tmp_path, local_plugins):
    state["about"]["config"]["model"]["width"] = float("inf")
    save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match=r"nothing was written, because it could not be used.*width"):
        save_network(run, tmp_path / "shared", plugins=local_plugins)
    assert not (tmp_path / "shared").exists()
