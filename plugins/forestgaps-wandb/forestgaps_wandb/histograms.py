"""How weights and gradients are distributed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

BINS = 64  # as many as Weights & Biases draws


def histograms(network: nn.Module, bins: int = BINS) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names, counts (bins,) and edges (bins + 1,) of every weight and gradient, on the CPU; without values that are not finite."""
    for name, parameter in network.named_parameters():
        for what, values in (("weights", parameter), ("gradients", parameter.grad)):
            finite = None if values is None else values.detach()[values.isfinite()].float().cpu()
            if finite is not None and finite.numel():
                counts, edges = torch.histogram(finite, bins=bins)
                yield f"{what}/{name}", counts, edges
