"""Scores of the gap map of each height threshold."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, frozen
from torch import Tensor

from forestgaps_metrics.fields import decision_threshold_field, scores_field
from forestgaps_metrics.scores import compute_two_class_scores
from forestgaps_metrics.segmentation import ScoreMetric
from forestgaps_metrics.threshold_counts import name_values


def compute_all_gap_scores(counts: Tensor) -> dict[str, Tensor]:
    """Return the gap fractions, and the scores of the baseline that predicts gap everywhere.

    With a gap fraction s in the reference, this baseline has gap IoU s, gap F1 2s / (1 + s), and mean IoU s / 2, because its canopy
    IoU is 0. NaN without a valid pixel.

    Args:
        counts: (..., 4), tp, fp, fn, tn.
    """
    tp, fp, fn, tn = counts.double().unbind(-1)
    valid = tp + fp + fn + tn
    fraction = (tp + fn) / valid
    return {
        "gap_fraction": fraction,
        "predicted_gap_fraction": (tp + fp) / valid,
        "all_gap_iou": fraction,
        "all_gap_f1": 2 * fraction / (1 + fraction),
    }


@define(eq=False, kw_only=True)
class ThresholdMetrics(ScoreMetric):
    """Every score of `forestgaps_metrics.scores` for each threshold (`gap_iou@5m`), and the gap fraction.

    `gap_fraction@5m` is the fraction of gap pixels in the reference, `predicted_gap_fraction@5m` that in the map. `all_gap_iou@5m`
    and `all_gap_f1@5m` are the scores of the baseline that predicts gap everywhere, which are high where gaps are common.
    """

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        scores = compute_two_class_scores(counts)
        return name_values({name: scores[name] for name in self.scores} | compute_all_gap_scores(counts), suffixes)


@frozen(kw_only=True)
class ThresholdMetricsConfig:
    """IoU, F scores, precision, recall, accuracy, MCC and kappa of each height threshold, beside the all-gap baseline.

    Formulas and sources: `forestgaps_metrics.scores`.

    Source: IoU: Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x; MCC: Matthews 1975, doi
    10.1016/0005-2795(75)90109-9; kappa: Cohen 1960, doi 10.1177/001316446002000104.
    """

    decision_threshold: float = decision_threshold_field()
    scores: tuple[str, ...] = scores_field()

    def build(self) -> ThresholdMetrics:
        return ThresholdMetrics(decision_threshold=self.decision_threshold, scores=self.scores)
