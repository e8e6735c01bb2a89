"""Stochastic depth: in training, the branch of a residual block is skipped at random, independently for each sample."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["linear", "constant"]


class DropPath(nn.Module):
    """Sets a whole sample to 0 with probability `rate` and divides the others by 1 - rate, which preserves the mean, (B, ...).

    In evaluation and at rate 0, it is the identity.

    Attributes:
        share: Rate of this layer relative to the maximum rate of the network, 0 to 1; depends on the depth.

    Source: Huang et al. 2016, arXiv:1603.09382
    """

    keep: Tensor

    def __init__(self, share: float = 1.0, rate: float = 0.0) -> None:
        super().__init__()
        self.share = share
        # A tensor, so that the network is not compiled again for each value of a schedule of rates.
        self.register_buffer("keep", torch.ones(()), persistent=False)
        self.active = False
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Set the maximum rate of the network, at least 0 and below 1; the rate of this layer is `share` times that."""
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
    """Return the rate of each block relative to the maximum rate, from input to output.

    `linear` increases from 0 to 1, because all later blocks depend on the early ones; `constant` is 1 for all blocks.
    """
    if rule == "constant":
        return [1.0] * blocks
    return [index / max(blocks - 1, 1) for index in range(blocks)]


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Set the maximum drop-path rate of a network; the rate of each block is its share of that."""
    for module in network.modules():
        if isinstance(module, DropPath):
            module.set_rate(rate)
