"""Precision-recall and ROC curves, from counts of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.histogram import find_bins, sum_by_class
from forestgaps_metrics.threshold_counts import CountingMetric, average_values, name_values

STRETCH = 4.0  # see `Curves`


def bins_field() -> Any:
    return field(default=512, validator=and_(ge(2), le(100_000)), metadata={"help": "Points of each curve, 2 to 100000."})


@frozen(eq=False, kw_only=True)
class CurvePoints:
    """The points of the curves, (K, bins) float64 each, from the highest decision threshold to the lowest.

    Attributes:
        decision_threshold: Pixels with this probability or a higher one are predicted gap.
        precision: Fraction of the predicted gap that is gap; NaN if no gap is predicted.
        recall: Fraction of the reference gap that is predicted gap.
        false_positive_rate: Fraction of the reference canopy that is predicted gap.
    """

    decision_threshold: Tensor
    precision: Tensor
    recall: Tensor
    false_positive_rate: Tensor


@define(eq=False, kw_only=True)
class Curves(CountingMetric):
    """Areas under the curves, at each threshold (`auroc@5m`) and their mean (`auroc@mean`).

    - `average_precision`: sum over the decision thresholds of (gain in recall) x precision, without interpolation. A random map
      has the gap fraction. NaN where the reference has no gap.
    - `auroc`: probability that a gap pixel has a higher logit than a canopy pixel; ties count half. NaN where the reference has
      only one class.
    - `best_f1`: the highest F1 of gaps, and `best_decision_threshold`, at which it is reached (at each threshold only).

    Logits are counted in `bins` bins that are equal in sigmoid(logit / 4). With bins that are equal in probability, nearly every
    canopy pixel of a confident network would be in the first one. With 512 bins, a bin is 0.8 % wide at a probability of one half,
    and narrower towards 0 and 1. Areas are exact for logits rounded down to a bin.

    Source: Davis & Goadrich 2006, doi 10.1145/1143844.1143874; Fawcett 2006, doi 10.1016/j.patrec.2005.10.010.
    """

    bins: int = bins_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        place = find_bins((logits.detach().float() / STRETCH).sigmoid(), self.bins)
        counts = sum_by_class(place + self.bins * (batch.target > 0.5), batch.valid, 2 * self.bins)
        return counts.view(-1, 2, self.bins)

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        points = self.compute_points(counts)
        precision, recall, false_positive_rate = points.precision, points.recall, points.false_positive_rate
        zero = torch.zeros_like(recall[:, :1])
        gain = recall.diff(dim=1, prepend=zero)
        width, height = false_positive_rate.diff(dim=1, prepend=zero), torch.cat([zero, recall], 1)
        f1 = 2 / (1 / precision + 1 / recall)
        best, position = f1.nan_to_num(nan=-1.0).max(1)
        values = {
            "average_precision": (gain * precision.nan_to_num()).sum(1),  # no gain where nothing is predicted
            "auroc": (width * (height[:, 1:] + height[:, :-1]) / 2).sum(1),
            "best_f1": torch.where(best >= 0, best, torch.nan),
        }
        decision_threshold = torch.where(best >= 0, points.decision_threshold.gather(1, position[:, None])[:, 0], torch.nan)
        return average_values(values) | name_values(values | {"best_decision_threshold": decision_threshold}, suffixes)

    def compute_curve(self) -> CurvePoints:
        """Return the curves on the CPU, for plots; no rows without a batch."""
        _, counts = self.counts.read(pooled=False)
        return self.compute_points(counts)

    def compute_points(self, counts: Tensor) -> CurvePoints:
        canopy, gap = counts.reshape(-1, 2, self.bins).double().flip(2).cumsum(2).unbind(1)
        edge = torch.arange(self.bins - 1, -1, -1, dtype=torch.float64) / self.bins
        decision_threshold = (torch.logit(edge) * STRETCH).sigmoid()
        return CurvePoints(
            decision_threshold=decision_threshold.expand_as(gap),
            precision=gap / (gap + canopy),
            recall=gap / gap[:, -1:],
            false_positive_rate=canopy / canopy[:, -1:],
        )


@frozen(kw_only=True)
class CurvesConfig:
    """Average precision, area under the ROC curve, and the decision threshold with the best F1, at each threshold and their mean.

    Formulas and sources: `forestgaps_metrics.curves.Curves`.

    Source: Davis & Goadrich 2006, doi 10.1145/1143844.1143874; Fawcett 2006, doi 10.1016/j.patrec.2005.10.010.
    """

    bins: int = bins_field()

    def build(self) -> Curves:
        return Curves(bins=self.bins)
