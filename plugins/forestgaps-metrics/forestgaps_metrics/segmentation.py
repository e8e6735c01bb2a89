"""Scores of the gap maps of all thresholds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import define, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.fields import decision_threshold_field, scores_field
from forestgaps_metrics.pixel_counts import count_confusion
from forestgaps_metrics.scores import compute_two_class_scores
from forestgaps_metrics.threshold_counts import CountingMetric, average_values, name_values


@define(eq=False, kw_only=True)
class ScoreMetric(CountingMetric):
    """A metric of confusion matrices; `scores` are those of `forestgaps_metrics.scores` to report."""

    decision_threshold: float = decision_threshold_field()
    scores: tuple[str, ...] = scores_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        return count_confusion(logits, batch, self.decision_threshold)


@define(eq=False, kw_only=True)
class SegmentationMetrics(ScoreMetric):
    """Every score of `forestgaps_metrics.scores`, once for all thresholds together.

    `gap_iou`: pooled, the score over all pixels of all thresholds; thresholds with many gap pixels have more weight.
    `gap_iou@mean`: the mean of the scores of the thresholds, each with the same weight, where they are defined.

    A value that is not defined is NaN: `gap_iou` without a gap pixel, predicted or in the reference.
    """

    pooled: ClassVar[bool] = True

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        scores = compute_two_class_scores(counts)
        chosen = {name: scores[name] for name in self.scores}
        return name_values(chosen, suffixes[:1]) | average_values({name: column[1:] for name, column in chosen.items()})


@frozen(kw_only=True)
class SegmentationMetricsConfig:
    """IoU, F scores, precision, recall, accuracy, MCC and kappa of all thresholds together, pooled and as a mean (`@mean`).

    Formulas and sources: `forestgaps_metrics.scores`.

    Source: IoU: Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x; MCC: Matthews 1975, doi
    10.1016/0005-2795(75)90109-9; kappa: Cohen 1960, doi 10.1177/001316446002000104.
    """

    decision_threshold: float = decision_threshold_field()
    scores: tuple[str, ...] = scores_field()

    def build(self) -> SegmentationMetrics:
        return SegmentationMetrics(decision_threshold=self.decision_threshold, scores=self.scores)
