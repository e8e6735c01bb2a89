"""The mean canopy height of the predicted distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError
from forestgaps_metrics.regression import compute_agreement, sum_regression_terms
from forestgaps_metrics.threshold_counts import CountingMetric

UNIT = 1000  # millimeters: exact sums up to 1e10 pixels at 30 m, 2e8 at 200 m


def compute_expected_height(probability: Tensor, thresholds: Tensor) -> Tensor:
    """Return the mean canopy height, clipped at the largest threshold T; meters, (B, 1, H, W).

    The gap probability at t is the distribution function F(t) of the height. The mean of min(height, T) is the integral of
    1 - F from 0 to T, by the trapezoidal rule between the thresholds, with F(0) = 0.

    Args:
        probability: (B, K, H, W), of gap.
        thresholds: (B, K) meters, ascending, above 0.
    """
    taller = torch.cat([torch.ones_like(probability[:, :1]), 1 - probability], 1)
    steps = torch.cat([thresholds[:, :1], thresholds.diff(dim=1)], 1)[:, :, None, None]
    return ((taller[:, 1:] + taller[:, :-1]) / 2 * steps).sum(1, keepdim=True)


@define(eq=False, kw_only=True)
class Heights(CountingMetric):
    """Errors of the mean height of the predicted distribution, in meters, both heights clipped to 0..T, T the largest threshold.

    `mae_m`, `rmse_m`, `bias_m` (positive: predicted too tall) and `r2` = 1 - (squared errors) / (squares about the reference
    mean), 1 at best, and below 0 where the reference mean is the better prediction. Heights are summed as integers of 1 mm. NaN
    without a valid pixel; `r2` also where the reference has one height only.
    """

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.height is None:
            raise DataError("the metric `heights` needs batches with canopy heights (`Batch.height`); these have none")
        predicted = compute_expected_height(logits.detach().float().sigmoid(), batch.thresholds)
        reference = batch.height.clamp(min=0).minimum(batch.thresholds[:, -1:, None, None])
        return sum_regression_terms(predicted, reference, batch.valid, UNIT)

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.counts.add(self.count(logits, batch), batch.thresholds[:, -1:])  # one row, for the largest threshold

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        values = compute_agreement(counts[0], UNIT)
        return {name if name == "r2" else f"{name}_m": values[name] for name in ("mae", "rmse", "bias", "r2")}


@frozen(kw_only=True)
class HeightsConfig:
    """MAE, RMSE, bias and R2 of the mean canopy height of the predicted distribution, up to the largest threshold.

    Formulas: `forestgaps_metrics.heights`.

    R2 is 1 - residual sum of squares / total sum of squares, by definition.
    """

    def build(self) -> Heights:
        return Heights()
