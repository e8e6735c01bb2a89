"""Histograms of weights and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from forestgaps_tracking.weights import iterate_weights

BINS = 64  # as many as Weights & Biases draws


def compute_histograms(network: nn.Module, bins: int = BINS) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name, counts (bins,) and edges (bins + 1,) of the finite values of each weight and gradient, on the CPU."""
    for name, values in iterate_weights(network):
        counts, edges = torch.histogram(values.float().cpu(), bins=bins)
        yield name, counts, edges
