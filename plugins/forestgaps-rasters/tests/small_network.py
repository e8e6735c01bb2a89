"""A network small enough for tests, in a module of its own so that other processes can import it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from forestgaps_core import Environment, InputLayer, Predictor


class Small(nn.Module):
    """Sees 8 pixels around, and halves the tile once, so that it matters where windows begin."""

    monotone = True

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 5, padding=2)
        self.second = nn.Conv2d(8, 1, 3, padding=1)
        self.pause = 0.0

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        time.sleep(self.pause)
        coarse = self.second(torch.relu(self.first(avg_pool2d((dsm - 400) / 10 * valid, 2))))
        height = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3) * 20
        return thresholds[:, :, None, None] - height


def small(pause: float = 0.0, seed: int = 0) -> Predictor:
    torch.manual_seed(seed)
    network = Small()
    network.pause = pause
    return Predictor(model=network, thresholds=(2.0, 5.0), resolution_m=1.0, environment=Environment(device="cpu"))


class Colors(nn.Module):
    """Gap where the first color is dark; the DSM plays no part."""

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor, layers: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = (128 - layers["rgb"][:, :1]) / 40 + thresholds[:, :, None, None] / 10
        return logits


def colored() -> Predictor:
    """A predictor that needs the layer `rgb` of three channels."""
    layers = {"rgb": InputLayer(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))}
    return Predictor(model=Colors(), thresholds=(2.0, 5.0), resolution_m=1.0, environment=Environment(device="cpu"), layers=layers)
