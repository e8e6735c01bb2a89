"""How weights and gradients are distributed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from forestgaps_core.tracking import weights_and_gradients

BINS = 64  # as many as Weights & Biases draws


def histograms(network: nn.Module, bins: int = BINS) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names, counts (bins,) and edges (bins + 1,) of every weight and gradient, on the CPU; without values that are not finite."""
    for name, values in weights_and_gradients(network):
        counts, edges = torch.histogram(values.float().cpu(), bins=bins)
        yield name, counts, edges
