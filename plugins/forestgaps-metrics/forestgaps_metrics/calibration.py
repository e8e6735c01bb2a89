"""Calibration: whether pixels with a predicted probability of 0.7 are gap in 70 % of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.histogram import find_bins, sum_by_class
from forestgaps_metrics.threshold_counts import CountingMetric, name_values

UNIT = 2**24  # probabilities are summed as integers of 1 / UNIT: exact for up to 5e11 pixels per threshold


def bins_field() -> Any:
    return field(default=20, validator=and_(ge(2), le(1000)), metadata={"help": "Equal bins of probability, 2 to 1000."})


def count_by_probability(logits: Tensor, batch: Batch, bins: int) -> Tensor:
    """Return (K, bins, 4) int64: pixels, gap pixels, sums of the probabilities and of the squared errors, both in 1 / UNIT."""
    probability = logits.detach().float().sigmoid()
    gap = batch.target > 0.5
    place = find_bins(probability, bins)
    canopy_and_gap = sum_by_class(place + bins * gap, batch.valid, 2 * bins).view(-1, 2, bins)
    probabilities, errors = (
        sum_by_class(place, batch.valid, bins, (value * UNIT).round().long())
        for value in (probability, (probability - gap.float()).square())
    )
    return torch.stack([canopy_and_gap.sum(1), canopy_and_gap[:, 1], probabilities, errors], 2)


@define(eq=False, kw_only=True)
class Calibration(CountingMetric):
    """Errors of the gap probabilities, pooled over thresholds (`brier`) and at each (`brier@5m`). NaN without a valid pixel.

    - `brier`: mean squared error of the probability, 0 to 1, 0 being best.
    - `brier_skill`: 1 - brier / (s (1 - s)), the skill relative to predicting the gap fraction s everywhere; 1 is best, 0 is no
      skill. NaN where the reference is all gap or all canopy.
    - `ece`: expected calibration error: over bins of probability, the mean difference of mean probability and gap fraction,
      weighted by pixels. `mce`: the largest such difference.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; bins: Naeini et al. 2015, doi
    10.1609/aaai.v29i1.9602, here for the probability of the one class gap.
    """

    pooled: ClassVar[bool] = True

    bins: int = bins_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        return count_by_probability(logits, batch, self.bins)

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        pixels, gaps, _, errors = counts.sum(1).double().unbind(1)
        probability, fraction, weight = compute_reliability(counts)
        distance = (probability - fraction).abs()
        brier = errors / UNIT / pixels
        spread = gaps / pixels * (1 - gaps / pixels)
        values = {
            "brier": brier,
            "brier_skill": torch.where(spread > 0, 1 - brier / spread, torch.nan),
            "ece": (distance.nan_to_num() * weight).sum(1),  # an empty bin has no weight
            "mce": torch.where(pixels > 0, distance.nan_to_num().amax(1), torch.nan),
        }
        return name_values(values, suffixes)

    def compute_curve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reliability curve of each threshold: mean probability, gap fraction, share of pixels, (K, bins) float64 each.

        On the CPU. The first two are NaN in a bin without pixels. No rows without a batch.
        """
        _, counts = self.counts.read(pooled=False)
        return compute_reliability(counts.reshape(-1, self.bins, 4))


def compute_reliability(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pixels, gaps, probabilities, _ = counts.double().unbind(2)
    return probabilities / UNIT / pixels, gaps / pixels, pixels / pixels.sum(1, keepdim=True)


@frozen(kw_only=True)
class CalibrationConfig:
    """Brier score, its skill relative to the gap fraction, and calibration errors of the gap probabilities.

    Formulas and sources: `forestgaps_metrics.calibration.Calibration`.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; errors in bins: Naeini et al. 2015, doi
    10.1609/aaai.v29i1.9602.
    """

    bins: int = bins_field()

    def build(self) -> Calibration:
        return Calibration(bins=self.bins)
