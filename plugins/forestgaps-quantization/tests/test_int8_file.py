from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from quantized_networks_of_tests import about, network
from safetensors.torch import load, save
from torch import Tensor

from forestgaps_core.errors import CheckpointError
from forestgaps_quantization.int8_file import PLAN, decode_network, encode_network
from forestgaps_quantization.scales import InputScale, compute_weight_scales

WEIGHTS = network("height_unet").state_dict()
LAYER = "body.down.1.0.branch.0"
FILE = Path("model.int8.safetensors")


def data() -> bytes:
    return encode_network(WEIGHTS, {LAYER: InputScale(0.25, 7)}, about("height_unet"))


def test_what_is_written_is_read() -> None:
    found = decode_network(data(), FILE)
    assert found.given == {LAYER: InputScale(0.25, 7)}
    assert found.about == about("height_unet")
    assert found.weights.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        if name == f"{LAYER}.weight":
            half = compute_weight_scales(tensor)[:, None, None, None] / 2
            assert ((found.weights[name] - tensor).abs() <= half * 1.0001).all()
            assert not torch.equal(found.weights[name], tensor)
        else:
            assert torch.equal(found.weights[name], tensor)


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.update({f"{LAYER}.weight": t[f"{LAYER}.weight"].float()}), r"weights of type torch.float32"),
        (lambda t: t.update({f"{LAYER}.weight": t[f"{LAYER}.weight"].flatten()}), r"shape \("),
        (lambda t: t.pop(f"{LAYER}.weight_scale"), "no scale for each channel"),
        (lambda t: t.update({f"{LAYER}.weight_scale": torch.ones(3)}), "no scale for each channel"),
        (lambda t: t[f"{LAYER}.weight_scale"].zero_(), "scales that are not above 0"),
        (lambda t: t[f"{LAYER}.weight_scale"].fill_(torch.nan), "scales that are not above 0"),
        (lambda t: t[f"{LAYER}.input"].fill_(torch.inf), "not a number"),
        (lambda t: t.update({f"{LAYER}.input": torch.tensor([0.1, 256.0])}), "zero point 256"),
        (lambda t: t.update({f"{LAYER}.input": torch.tensor([-1.0, 0.0])}), "the scale -1"),
        (lambda t: t.pop(f"{LAYER}.input"), "does not contain a quantized convolution"),
    ],
)
def test_damage_is_reported(change: Change, sentence: str) -> None:
    tensors = load(data())
    change(tensors)
    with pytest.raises(CheckpointError, match=sentence):
        decode_network(save(tensors, metadata={PLAN: json.dumps(about("height_unet"))}), FILE)


@pytest.mark.parametrize("plan", [None, "", "[]", "{", '{"config": {}}', "[" * 100_000])
def test_a_file_without_its_source_is_reported(plan: str | None) -> None:
    with pytest.raises(CheckpointError, match=r"does not describe its network|is damaged"):
        decode_network(save(load(data()), metadata=None if plan is None else {PLAN: plan}), FILE)


@pytest.mark.parametrize("given", [b"", b"\xff" * 64, data()[:-100]])
def test_what_is_no_safetensors_is_reported(given: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        decode_network(given, FILE)


def test_weights_that_are_no_numbers_are_not_written() -> None:
    weights = WEIGHTS | {f"{LAYER}.weight": torch.full_like(WEIGHTS[f"{LAYER}.weight"], torch.nan)}
    with pytest.raises(CheckpointError, match="not all numbers"):
        encode_network(weights, {LAYER: InputScale(0.25, 7)}, about("height_unet"))
