"""Precision-recall and ROC curves from counts of a fixed size."""

from __future__ import annotations

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.histogram import levels, sums_by_class
from forestgaps_metrics.tally import Tally, averaged, named

STRETCH = 4.0  # see `Curves`
some_cuts = and_(ge(2), le(100_000))


@frozen(eq=False, kw_only=True)
class CurvePoints:
    """What each cut gives, (K, cuts) float64 each, from the highest cut to the lowest.

    Attributes:
        probability: Pixels at or above it are predicted gap.
        precision: Share of the predicted gap that is gap; NaN where none is predicted.
        recall: Share of the surveyed gap found.
        false_alarm: Share of the surveyed canopy predicted gap.
    """

    probability: Tensor
    precision: Tensor
    recall: Tensor
    false_alarm: Tensor


@define(eq=False, kw_only=True)
class Curves:
    """Areas under the curves, at each threshold (`auroc@5m`) and their mean (`auroc@mean`).

    - `average_precision`: sum over the cuts of (gain in recall) x precision, without interpolation. The share of gaps is what
      chance gives. NaN where the survey has no gap.
    - `auroc`: chance that a gap pixel has a higher logit than a canopy pixel, ties counting half. NaN where the survey has
      only one class.
    - `best_f1`: the highest F1 of gaps over the cuts, `best_probability`: the cut that gives it (not the mean's).

    Logits are sorted into `cuts` bins, equal in sigmoid(logit / 4): in the plain probability a network sure of itself puts
    nearly every canopy pixel into the first bin. With 512 a bin is 0.8 % of probability wide at one half, and narrower to
    both sides. Areas are exact for logits rounded down to a bin.

    Source: Davis & Goadrich 2006, doi 10.1145/1143844.1143874; Fawcett 2006, doi 10.1016/j.patrec.2005.10.010.
    """

    cuts: int = field(default=512, validator=some_cuts)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        place = levels((logits.detach().float() / STRETCH).sigmoid(), self.cuts)
        counts = sums_by_class(place + self.cuts * (batch.target > 0.5), batch.valid, 2 * self.cuts)
        self.tally.add(counts.view(-1, 2, self.cuts), batch.thresholds)

    def merge(self, other: Curves) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, _ = self.tally.read(pooled=False)
        if not ends:
            return {}
        points = self.curve()
        precision, recall, false_alarm = points.precision, points.recall, points.false_alarm
        zero = torch.zeros_like(recall[:, :1])
        gain = recall.diff(dim=1, prepend=zero)
        width, height = false_alarm.diff(dim=1, prepend=zero), torch.cat([zero, recall], 1)
        f1 = 2 / (1 / precision + 1 / recall)
        best, where = f1.nan_to_num(nan=-1.0).max(1)
        values = {
            "average_precision": (gain * precision.nan_to_num()).sum(1),  # no gain where nothing is predicted
            "auroc": (width * (height[:, 1:] + height[:, :-1]) / 2).sum(1),
            "best_f1": torch.where(best >= 0, best, torch.nan),
        }
        best_probability = torch.where(best >= 0, points.probability.gather(1, where[:, None])[:, 0], torch.nan)
        return averaged(values) | named(values | {"best_probability": best_probability}, ends)

    def curve(self) -> CurvePoints:
        """The curves on the CPU, to draw; no rows before any batch."""
        _, counts = self.tally.read(pooled=False)
        canopy, gap = counts.reshape(-1, 2, self.cuts).double().flip(2).cumsum(2).unbind(1)
        edge = torch.arange(self.cuts - 1, -1, -1, dtype=torch.float64) / self.cuts
        probability = (torch.logit(edge) * STRETCH).sigmoid()
        return CurvePoints(
            probability=probability.expand_as(gap),
            precision=gap / (gap + canopy),
            recall=gap / gap[:, -1:],
            false_alarm=canopy / canopy[:, -1:],
        )


@frozen(kw_only=True)
class CurvesConfig:
    """Average precision, area under the ROC curve, and the cut with the best F1, at each threshold and their mean.

    Formulas and sources: `forestgaps_metrics.curves.Curves`.

    Source: Davis & Goadrich 2006, doi 10.1145/1143844.1143874; Fawcett 2006, doi 10.1016/j.patrec.2005.10.010.
    """

    cuts: int = field(default=512, validator=some_cuts, metadata={"help": "Points on each curve, 2 to 100000."})

    def build(self) -> Curves:
        return Curves(cuts=self.cuts)
