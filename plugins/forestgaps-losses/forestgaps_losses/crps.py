from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from attrs import field, frozen
from torch import Tensor

from forestgaps_losses.planes import PlaneFormula, PlaneLoss, PlaneLossConfig, weighted_mean
from forestgaps_losses.threshold_weights import GapFraction, unknown


def brier_loss(logits: Tensor, target: Tensor, pixels: Tensor) -> Tensor:
    """Mean of (p - y)^2 in each plane, 0 to 1; 0.25 where the network knows nothing. Shapes: `PlaneFormula`.

    Source: Brier 1950 (half of the score there), doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """
    return weighted_mean((torch.sigmoid(logits) - target) ** 2, pixels)


def meters_of(thresholds: Tensor) -> Tensor:
    """Meters of height each threshold stands for, by the trapezoidal rule from 0 to the largest: (B, K) to (B, K)."""
    below = torch.cat([torch.zeros_like(thresholds[:, :1]), thresholds[:, :-1]], dim=1)
    above = torch.cat([thresholds[:, 1:], thresholds[:, -1:]], dim=1)
    return (above - below) / 2


@frozen(kw_only=True)
class Crps(PlaneLossConfig):
    """Continuous ranked probability score: how good the predicted distribution of canopy height is, in every pixel.

    The planes are points of its cumulative curve, P(height < t_k) = p_k, and the score is the integral of (p - y)^2 over the
    thresholds, here from 0 m to the largest and divided by its length: a mean of Brier scores, 0 to 1. Proper: the least
    loss is at the true distribution. With `threshold_weights` it is the threshold-weighted score.

    Source: Gneiting & Raftery 2007, eq. 20, doi 10.1198/016214506000001437; weights: Gneiting & Ranjan 2011,
    doi 10.1198/jbes.2010.08110
    """

    spacing: Literal["meters", "equal"] = field(
        default="meters",
        metadata={"help": 'What a threshold counts by: "meters" of height it stands for, or all "equal" (the mean of the scores).'},
    )

    @property
    def formula(self) -> PlaneFormula:
        return brier_loss

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = unknown) -> PlaneLoss:
        loss = super().build(thresholds, gap_fraction)
        if self.spacing == "equal":
            return loss
        return attrs.evolve(loss, threshold_weights=lambda found: loss.threshold_weights(found) * meters_of(found))
