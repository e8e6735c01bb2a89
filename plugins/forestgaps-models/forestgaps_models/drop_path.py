"""Stochastic depth: in training, a residual block's branch is skipped at random, for each sample on its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["linear", "constant"]


class DropPath(nn.Module):
    """Zero a whole sample with probability `rate` and divide the others by 1 - rate, so that the mean stays.

    In evaluation, and at rate 0, it is the identity. (B, ...) in and out.

    Attributes:
        share: What part of the network's highest rate this layer has, 0 to 1: given by its depth.

    Source: Huang et al. 2016, arXiv:1603.09382
    """

    keep: Tensor

    def __init__(self, share: float = 1.0, rate: float = 0.0) -> None:
        super().__init__()
        self.share = share
        # A tensor, so that a schedule of rates does not compile the network anew at each of its values.
        self.register_buffer("keep", torch.ones(()), persistent=False)
        self.active = False
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Set the network's highest rate, at least 0 and below 1; this layer takes its share of it."""
        if not 0 <= rate < 1:
            raise ValueError(f"a drop-path rate is at least 0 and below 1, not {rate}")
        self.keep.fill_(1 - rate * self.share)
        self.active = rate * self.share > 0

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.active):
            return x
        kept = torch.rand((x.shape[0],) + (1,) * (x.dim() - 1), device=x.device) < self.keep
        return x * (kept / self.keep).to(x.dtype)


def compute_depth_shares(blocks: int, rule: Rule) -> list[float]:
    """Each block's share of the highest rate, from input to output.

    `linear` rises from 0 to 1, because early blocks make what all later ones need; `constant` is 1 everywhere.
    """
    if rule == "constant":
        return [1.0] * blocks
    return [index / max(blocks - 1, 1) for index in range(blocks)]


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Set the highest drop-path rate of a whole network; each block takes its share."""
    for module in network.modules():
        if isinstance(module, DropPath):
            module.set_rate(rate)
