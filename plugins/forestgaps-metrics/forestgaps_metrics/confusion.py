"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from attrs import define, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.fields import decision_threshold_field
from forestgaps_metrics.pixel_counts import count_confusion
from forestgaps_metrics.threshold_counts import CountingMetric, name_values


@define(eq=False, kw_only=True)
class ConfusionMatrix(CountingMetric):
    """Confusion matrix of gap and canopy pixels, pooled over thresholds (`tp`) and at each (`tp@5m`).

    Counts: `tp`, `fp`, `fn`, `tn`, where gap is positive. Rates: `tp_rate` and `fn_rate` are fractions of the reference gap,
    `fp_rate` and `tn_rate` of the reference canopy; `false_discovery_rate` is the fraction of the predicted gap that is canopy,
    `false_omission_rate` that of the predicted canopy that is gap. 0 / 0 is NaN.
    """

    pooled: ClassVar[bool] = True

    decision_threshold: float = decision_threshold_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        return count_confusion(logits, batch, self.decision_threshold)

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        tp, fp, fn, tn = counts.double().unbind(-1)
        values = {
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": tn,
            "tp_rate": tp / (tp + fn),
            "fn_rate": fn / (tp + fn),
            "fp_rate": fp / (fp + tn),
            "tn_rate": tn / (fp + tn),
            "false_discovery_rate": fp / (tp + fp),
            "false_omission_rate": fn / (fn + tn),
        }
        return name_values(values, suffixes)

    @property
    def thresholds(self) -> list[float]:
        """Meters, one for each matrix."""
        return [] if self.counts.thresholds is None else self.counts.thresholds.tolist()

    @property
    def matrix(self) -> Tensor:
        """(K, 2, 2) int64 on the CPU: [threshold, reference, predicted] with 0 canopy and 1 gap; no rows without a batch."""
        _, counts = self.counts.read(pooled=False)
        tp, fp, fn, tn = counts.reshape(-1, 4).unbind(1)
        return torch.stack([tn, fp, fn, tp], 1).reshape(-1, 2, 2)

    def normalize(self, over: Literal["reference", "predicted", "all"] = "reference") -> Tensor:
        """Return the matrices as fractions of each reference class, each predicted class, or all pixels; (K, 2, 2) float64."""
        dims = {"reference": (2,), "predicted": (1,), "all": (1, 2)}[over]
        matrix = self.matrix.double()
        return matrix / matrix.sum(dims, keepdim=True)


@frozen(kw_only=True)
class ConfusionMatrixConfig:
    """True and false positives and negatives with their rates, pooled over thresholds and at each of them.

    Counts and fractions by definition.
    """

    decision_threshold: float = decision_threshold_field()

    def build(self) -> ConfusionMatrix:
        return ConfusionMatrix(decision_threshold=self.decision_threshold)
