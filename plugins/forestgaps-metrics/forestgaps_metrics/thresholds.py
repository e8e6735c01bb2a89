"""Scores of the gap map of each height threshold."""

from __future__ import annotations

from attrs import define, field, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import confusion
from forestgaps_metrics.scores import SCORES, two_class_scores
from forestgaps_metrics.settings import inside_0_1, known_scores
from forestgaps_metrics.tally import Tally, named


def all_gap_scores(counts: Tensor) -> dict[str, Tensor]:
    """How rare gaps are, and what calling every pixel gap would score: the least a map has to beat.

    Args:
        counts: (..., 4), tp, fp, fn, tn.

    With a share s of gap pixels in the survey, calling everything gap has gap IoU s, gap F1 2s / (1 + s), and mean IoU s / 2,
    as it finds no canopy. NaN without a valid pixel.
    """
    tp, fp, fn, tn = counts.double().unbind(-1)
    valid = tp + fp + fn + tn
    share = (tp + fn) / valid
    return {
        "gap_fraction": share,
        "predicted_gap_fraction": (tp + fp) / valid,
        "all_gap_iou": share,
        "all_gap_f1": 2 * share / (1 + share),
    }


@define(eq=False, kw_only=True)
class ThresholdMetrics:
    """Every score of `forestgaps_metrics.scores` for each threshold (`gap_iou@5m`), and how rare gaps are there.

    `gap_fraction@5m` is the share of gap pixels in the survey, `predicted_gap_fraction@5m` that of the map; `all_gap_iou@5m` and
    `all_gap_f1@5m` are the scores of a map that calls every pixel gap. Where gaps are common these are high: compare.
    """

    probability: float = field(default=0.5, validator=inside_0_1)
    scores: tuple[str, ...] = field(default=SCORES, validator=known_scores)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.tally.add(confusion(logits, batch, self.probability), batch.thresholds)

    def merge(self, other: ThresholdMetrics) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=False)
        if not ends:
            return {}
        scores = two_class_scores(counts)
        return named({name: scores[name] for name in self.scores} | all_gap_scores(counts), ends)


@frozen(kw_only=True)
class ThresholdMetricsConfig:
    """IoU, F scores, precision, recall, accuracy, MCC and kappa of each height threshold, beside calling everything gap.

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

    def build(self) -> ThresholdMetrics:
        return ThresholdMetrics(probability=self.probability, scores=self.scores)
