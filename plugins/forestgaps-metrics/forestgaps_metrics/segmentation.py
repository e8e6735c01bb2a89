"""Scores of the gap maps of all thresholds together."""

from __future__ import annotations

from attrs import define, field, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import confusion
from forestgaps_metrics.scores import SCORES, two_class_scores
from forestgaps_metrics.settings import inside_0_1, known_scores
from forestgaps_metrics.tally import Tally, averaged, named


@define(eq=False, kw_only=True)
class SegmentationMetrics:
    """Every score of `forestgaps_metrics.scores`, once for all thresholds together.

    `gap_iou`: pooled, the score of all pixels of all thresholds counted as one map; thresholds with many gap pixels weigh more.
    `gap_iou@mean`: the mean of the thresholds' own scores, each weighing the same, over those where it is defined.

    NaN where nothing can be said: `gap_iou` without a gap pixel, predicted or surveyed.
    """

    probability: float = field(default=0.5, validator=inside_0_1)
    scores: tuple[str, ...] = field(default=SCORES, validator=known_scores)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.tally.add(confusion(logits, batch, self.probability), batch.thresholds)

    def merge(self, other: SegmentationMetrics) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=True)
        if not ends:
            return {}
        scores = two_class_scores(counts)
        chosen = {name: scores[name] for name in self.scores}
        return named(chosen, ends[:1]) | averaged({name: column[1:] for name, column in chosen.items()})


@frozen(kw_only=True)
class SegmentationMetricsConfig:
    """IoU, F scores, precision, recall, accuracy, MCC and kappa of all thresholds together, pooled and as a mean (`@mean`).

    Formulas and sources: `forestgaps_metrics.scores`.

    Source: IoU: Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x; MCC: Matthews 1975, doi
    10.1016/0005-2795(75)90109-9; kappa: Cohen 1960, doi 10.1177/001316446002000104.
    """

    probability: float = field(
        default=0.5, validator=inside_0_1, metadata={"help": "A pixel is predicted gap above this probability, 0 to 1."}
    )
    scores: tuple[str, ...] = field(
        default=SCORES, validator=known_scores, metadata={"help": "Which scores to report, such as gap_iou, canopy_iou, mcc."}
    )

    def build(self) -> SegmentationMetrics:
        return SegmentationMetrics(probability=self.probability, scores=self.scores)
