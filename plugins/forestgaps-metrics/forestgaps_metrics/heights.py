"""The canopy height that the gap probabilities imply."""

from __future__ import annotations

import torch
from attrs import define, field, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError
from forestgaps_metrics.regression import agreement, regression_sums
from forestgaps_metrics.tally import Tally

UNIT = 1000  # millimeters: exact sums up to 1e10 pixels at 30 m, 2e8 at 200 m


def implied_height(probability: Tensor, thresholds: Tensor) -> Tensor:
    """Mean canopy height, counting what rises above the largest threshold T as T; meters, (B, 1, H, W).

    The gap probability at t is the distribution function F(t) of the height, and the mean of min(height, T) is the integral of
    1 - F from 0 to T; here by the trapezoid rule between the thresholds, with F(0) = 0.

    Args:
        probability: (B, K, H, W), of gap.
        thresholds: (B, K) meters, ascending, above 0.
    """
    taller = torch.cat([torch.ones_like(probability[:, :1]), 1 - probability], 1)
    steps = torch.cat([thresholds[:, :1], thresholds.diff(dim=1)], 1)[:, :, None, None]
    return ((taller[:, 1:] + taller[:, :-1]) / 2 * steps).sum(1, keepdim=True)


@define(eq=False)
class Heights:
    """Errors of the height implied by all thresholds together, in meters, both heights limited to 0..T, T the largest threshold.

    `mae_m`, `rmse_m`, `bias_m` (positive: predicted too tall) and `r2` = 1 - (squared errors) / (squares about the surveyed
    mean), 1 at best and below 0 where the surveyed mean is the better guess. Heights are summed in whole millimeters. NaN
    without a valid pixel; `r2` also where the survey has one height only.
    """

    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        if batch.height is None:
            raise DataError("the metric `heights` needs batches with canopy heights (`Batch.height`); these have none")
        predicted = implied_height(logits.detach().float().sigmoid(), batch.thresholds)
        top = batch.thresholds[:, -1:]
        surveyed = batch.height.clamp(min=0).minimum(top[:, :, None, None])
        self.tally.add(regression_sums(predicted, surveyed, batch.valid, UNIT), top)

    def merge(self, other: Heights) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, sums = self.tally.read(pooled=False)
        if not ends:
            return {}
        values = agreement(sums[0], UNIT)
        return {name if name == "r2" else f"{name}_m": values[name] for name in ("mae", "rmse", "bias", "r2")}


@frozen(kw_only=True)
class HeightsConfig:
    """MAE, RMSE, bias and R2 of the canopy height implied by the probabilities of all thresholds, up to the largest.

    Formulas: `forestgaps_metrics.heights`.

    R2 is one less the residual over the total sum of squares, by definition.
    """

    def build(self) -> Heights:
        return Heights()
