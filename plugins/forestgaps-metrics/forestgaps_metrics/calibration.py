"""Whether a probability of 0.7 means gap seven times out of ten."""

from __future__ import annotations

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.histogram import levels, sums_by_class
from forestgaps_metrics.tally import Tally, named

UNIT = 2**24  # parts of 1 that probabilities are summed in: exact sums of up to 5e11 pixels per threshold
some_bins = and_(ge(2), le(1000))


def calibration_counts(logits: Tensor, batch: Batch, bins: int) -> Tensor:
    """(K, bins, 4) int64: pixels, gap pixels, sum of the probabilities and of the squared errors, both in 1 / UNIT."""
    probability = logits.detach().float().sigmoid()
    gap = batch.target > 0.5
    place = levels(probability, bins)
    canopy_and_gap = sums_by_class(place + bins * gap, batch.valid, 2 * bins).view(-1, 2, bins)
    probabilities, errors = (
        sums_by_class(place, batch.valid, bins, (value * UNIT).round().long())
        for value in (probability, (probability - gap.float()).square())
    )
    return torch.stack([canopy_and_gap.sum(1), canopy_and_gap[:, 1], probabilities, errors], 2)


@define(eq=False, kw_only=True)
class Calibration:
    """Errors of the gap probabilities, pooled over thresholds (`brier`) and at each (`brier@5m`). NaN without a valid pixel.

    - `brier`: mean squared error of the probability, 0 to 1, 0 being best.
    - `brier_skill`: 1 - brier / (s (1 - s)), what is gained over telling the share s of gaps everywhere; 1 is best, 0 is no
      gain. NaN where the survey is all gap or all canopy.
    - `ece`: expected calibration error: over bins of probability, the mean distance between mean probability and share of
      gaps, weighted by pixels. `mce`: the largest such distance in any bin.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; bins: Naeini et al. 2015, doi
    10.1609/aaai.v29i1.9602, here for the probability of the one class gap.
    """

    bins: int = field(default=20, validator=some_bins)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.tally.add(calibration_counts(logits, batch, self.bins), batch.thresholds)

    def merge(self, other: Calibration) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=True)
        if not ends:
            return {}
        pixels, gaps, _, errors = counts.sum(1).double().unbind(1)
        probability, share, weight = reliability(counts)
        distance = (probability - share).abs()
        brier = errors / UNIT / pixels
        spread = gaps / pixels * (1 - gaps / pixels)
        values = {
            "brier": brier,
            "brier_skill": torch.where(spread > 0, 1 - brier / spread, torch.nan),
            "ece": (distance.nan_to_num() * weight).sum(1),  # an empty bin has no weight
            "mce": torch.where(pixels > 0, distance.nan_to_num().amax(1), torch.nan),
        }
        return named(values, ends)

    def curve(self) -> tuple[Tensor, Tensor, Tensor]:
        """The reliability curve of each threshold: mean probability, share of gaps, share of pixels, (K, bins) float64 each.

        On the CPU. A bin without pixels has NaN for the first two. No rows before any batch.
        """
        _, counts = self.tally.read(pooled=False)
        return reliability(counts.reshape(-1, self.bins, 4))


def reliability(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pixels, gaps, probabilities, _ = counts.double().unbind(2)
    return probabilities / UNIT / pixels, gaps / pixels, pixels / pixels.sum(1, keepdim=True)


@frozen(kw_only=True)
class CalibrationConfig:
    """Brier score, its skill over the plain share of gaps, and calibration errors of the gap probabilities.

    Formulas and sources: `forestgaps_metrics.calibration.Calibration`.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; errors in bins: Naeini et al. 2015, doi
    10.1609/aaai.v29i1.9602.
    """

    bins: int = field(default=20, validator=some_bins, metadata={"help": "Equal bins of probability, 2 to 1000."})

    def build(self) -> Calibration:
        return Calibration(bins=self.bins)
