"""A network of two convolutions, slow enough that a worker can be killed on the way."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from forestgaps_core import Environment, Predictor


class Slow(nn.Module):
    monotone = True

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        time.sleep(0.03)
        return thresholds[:, :, None, None] - 20 * self.body((dsm - 400) / 10 * valid)


def slow_predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(model=Slow(), thresholds=(2.0, 5.0), resolution_m=1.0, environment=Environment(device="cpu"))
