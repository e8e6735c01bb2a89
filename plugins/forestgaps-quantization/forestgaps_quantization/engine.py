"""The engine `int8`: networks whose convolutions compute with 8-bit integers, on the CPU.

A file is data. The network is built by the package it came from, as from any model folder, and its convolutions are replaced.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.engines import ExportedNetwork
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.registry import Plugins
from forestgaps_quantization.convolution import replace_convolutions
from forestgaps_quantization.int8_file import decode_network


class Int8:
    """Opens what `forestgaps quantize` wrote."""

    data_only = True

    def open(self, data: bytes, program: Program) -> nn.Module:
        return Int8Network(data, program)


class Int8Network(ExportedNetwork):
    """A network with quantized convolutions, for tiles of any size.

    Args:
        integers: Whether to compute with integers; by default where the processor can.

    Raises:
        CheckpointError: Damaged, or the package of its network is missing or makes another one now.
    """

    def __init__(self, data: bytes, program: Program, integers: bool | None = None) -> None:
        super().__init__(data, program)
        path = Path(program.file)
        found = decode_network(data, path)
        network = build_network({"about": found.about, "model": found.weights, "callbacks": {}}, Plugins.discover(), path).eval()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        fold_batch_norms(network)
        others = [name for name in found.given if not is_convolution(network, name)]
        if others:
            raise CheckpointError(f"{path} is damaged: {others[0]!r} is no convolution of its network")
        replace_convolutions(network, found.given, integers)
        self.network = network.requires_grad_(False)
        self.pixel_bytes = getattr(network, "pixel_bytes", None)
        if hasattr(network, "compute_distribution"):  # see `forestgaps_core.inference.predictor.Predictor`
            self.compute_distribution, self.compute_logits = network.compute_distribution, network.compute_logits

    def answer(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        logits: Tensor = self.network(dsm.float(), valid, thresholds.float())
        return logits


def is_convolution(network: nn.Module, name: str) -> bool:
    try:
        layer = network.get_submodule(name)
    except AttributeError:
        return False
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
