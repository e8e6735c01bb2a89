"""The file of a quantized network: data only, in safetensors.

It contains the tensors of the network by their names. For each quantized convolution NAME, it contains

    NAME.weight         int8, (O, I, h, w)
    NAME.weight_scale   float32, (O,): weight = code * scale
    NAME.input          float32, (2,): scale and zero point of its input

The metadata `forestgaps` describe in JSON how to build the network, as `network.json` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.checkpoint import find_wrong_parts
from forestgaps_core.files.safe_opening import parse_json
from forestgaps_core.files.state_tree import find_unstorable
from forestgaps_core.files.tensor_file import TensorFileError, pack_tensors, read_tensors
from forestgaps_core.inference.model_folder import prepare_tensor
from forestgaps_quantization.scales import (
    INPUT_MOST,
    InputScale,
    compute_weight_codes,
    compute_weight_scales,
    compute_weight_values,
)

FILE = "model.int8.safetensors"
PLAN = "forestgaps"
MOST_SCALE = 1e30


@frozen(eq=False)
class Quantized:
    """The content of a file.

    Attributes:
        about: Metadata as in a checkpoint.
        weights: Weights of the network in float32; those of quantized convolutions are rounded.
        given: Scales of the inputs, by convolution.
    """

    about: dict[str, Any]
    weights: dict[str, Tensor]
    given: dict[str, InputScale]


def encode_network(weights: Mapping[str, Tensor], given: Mapping[str, InputScale], about: Mapping[str, Any]) -> bytes:
    """Return the content of the file.

    Args:
        weights: State of the network.
        given: Scales of the inputs of the convolutions to quantize.

    Raises:
        CheckpointError: Weights are not finite.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        layer, _, what = name.rpartition(".")
        if what == "weight" and layer in given:
            scales = compute_weight_scales(prepare_tensor(tensor, name, half=False))
            tensors[name] = compute_weight_codes(tensor.cpu(), scales).contiguous()
            tensors[f"{layer}.weight_scale"] = scales
            tensors[f"{layer}.input"] = torch.tensor([given[layer].scale, float(given[layer].zero_point)])
        else:
            tensors[name] = prepare_tensor(tensor, name, half=False)
    return pack_tensors(tensors, {PLAN: json.dumps(about)})


def decode_network(data: bytes, path: Path) -> Quantized:
    """Decode the content of a file.

    Args:
        path: Path of the file, for error messages.

    Raises:
        CheckpointError: The file is damaged or has another format.
    """
    try:
        tensors, texts = read_tensors(path, data)
    except TensorFileError as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    about = read_metadata(texts, path)
    weights: dict[str, Tensor] = {}
    given: dict[str, InputScale] = {}
    for name, tensor in tensors.items():
        layer, _, what = name.rpartition(".")
        if f"{layer}.input" not in tensors or what not in ("weight", "weight_scale", "input"):
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
        elif what == "weight":
            scales, of_input = tensors.get(f"{layer}.weight_scale"), tensors[f"{layer}.input"]
            if wrong := find_fault(tensor, scales, of_input):
                raise CheckpointError(f"{path} is damaged: {wrong} of the convolution {layer!r}")
            assert scales is not None
            weights[name] = compute_weight_values(tensor, scales)
            given[layer] = InputScale(float(of_input[0]), int(of_input[1]))
    if not given:
        raise CheckpointError(f"{path} does not contain a quantized convolution")
    return Quantized(about, weights, given)


def find_fault(codes: Tensor, scales: Tensor | None, of_input: Tensor) -> str:
    """Return the error in the parts of a convolution, or ''."""
    if codes.dtype != torch.int8 or codes.dim() != 4 or not codes.numel():
        return f"weights of type {codes.dtype} and shape {tuple(codes.shape)}"
    if scales is None or scales.dtype != torch.float32 or scales.shape != codes.shape[:1]:
        return "no scale for each channel"
    if not ((scales > 0) & (scales < MOST_SCALE)).all():
        return "scales that are not above 0"
    if of_input.dtype != torch.float32 or of_input.shape != (2,) or not of_input.isfinite().all():
        return "a scale of the input that is not a number"
    scale, zero_point = of_input.tolist()
    if not 0 < scale < MOST_SCALE or not 0 <= zero_point <= INPUT_MOST or zero_point != int(zero_point):
        return f"the scale {scale:g} and zero point {zero_point:g} of the input"
    return ""


def read_metadata(texts: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return how to build the network, from the metadata."""
    try:
        about = parse_json(texts[PLAN])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not describe its network, so forestgaps quantize did not write it. Use another file"
        ) from error
    wrong = find_unstorable(about) or ", ".join(place.removeprefix("about.") for place in find_wrong_parts(about))
    if wrong or "model" not in about["config"]:
        raise CheckpointError(f"{path} is damaged: the description of its network is incomplete ({wrong or 'config.model'})")
    return dict(about)
