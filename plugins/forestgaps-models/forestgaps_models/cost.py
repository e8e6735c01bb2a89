"""The cost of a network: parameters and multiply-adds."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@frozen
class Cost:
    """The cost of a network.

    Attributes:
        parameters: Number of parameters.
        multiply_adds: Multiply-adds of the forward pass of one tile, in convolutions and matrix products only.
        pixels: Number of pixels of the tile.
    """

    parameters: int
    multiply_adds: int
    pixels: int

    def __str__(self) -> str:
        per_pixel = self.multiply_adds / self.pixels
        return f"{self.parameters / 1e6:.2f} M parameters, {per_pixel / 1e3:.1f} k multiply-adds per pixel"


def measure_cost(model: nn.Module, *, size: int = 128, thresholds: int = 5) -> Cost:
    """Measure the cost of one tile of `size` x `size` pixels at a number of thresholds; runs the network once."""
    device = next(model.parameters()).device
    dsm = torch.zeros(1, 1, size, size, device=device)
    levels = torch.linspace(2, 20, thresholds, device=device)[None]
    training = model.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(dsm, torch.ones_like(dsm, dtype=torch.bool), levels)
    model.train(training)
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        pixels=size * size,
    )
