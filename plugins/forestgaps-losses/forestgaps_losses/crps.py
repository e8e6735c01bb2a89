from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from attrs import field, frozen
from torch import Tensor

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLoss, ChannelLossConfig, weighted_mean
from forestgaps_losses.threshold_weights import GapFraction, no_gap_fraction


def brier_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor) -> Tensor:
    """Return the mean of (p - y)^2 of each channel, 0 to 1; it is 0.25 at p = 0.5. Shapes: `ChannelFormula`.

    Source: Brier 1950 (half of the score there), doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """
    return weighted_mean((torch.sigmoid(logits) - target) ** 2, pixel_weights)


def compute_threshold_widths(thresholds: Tensor) -> Tensor:
    """Return the meters of height that each threshold represents, by the trapezoidal rule from 0 to the largest, (B, K)."""
    below = torch.cat([torch.zeros_like(thresholds[:, :1]), thresholds[:, :-1]], dim=1)
    above = torch.cat([thresholds[:, 1:], thresholds[:, -1:]], dim=1)
    return (above - below) / 2


@frozen(kw_only=True)
class Crps(ChannelLossConfig):
    """Continuous ranked probability score of the predicted distribution of canopy height in each pixel.

    The channels are points of the cumulative distribution function, P(height < t_k) = p_k. The score is the integral of (p - y)^2
    over the thresholds, from 0 m to the largest, divided by its length: a mean of Brier scores, 0 to 1. It is a proper score: the
    minimum is at the true distribution. With `threshold_weights` it is the threshold-weighted score.

    Source: Gneiting & Raftery 2007, eq. 20, doi 10.1198/016214506000001437; weights: Gneiting & Ranjan 2011,
    doi 10.1198/jbes.2010.08110
    """

    spacing: Literal["meters", "equal"] = field(
        default="meters",
        metadata={
            "help": 'Weight of a threshold: the "meters" of height that it represents, or "equal" (mean of the Brier scores).'
        },
    )

    @property
    def formula(self) -> ChannelFormula:
        return brier_loss

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = no_gap_fraction) -> ChannelLoss:
        loss = super().build(thresholds, gap_fraction)
        if self.spacing == "equal":
            return loss
        return attrs.evolve(
            loss, threshold_weights=lambda heights: loss.threshold_weights(heights) * compute_threshold_widths(heights)
        )
