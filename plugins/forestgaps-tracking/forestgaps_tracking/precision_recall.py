"""Precision and recall at every decision threshold, from counts of fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.components import Batch

DECISION_THRESHOLDS = 101  # probabilities 0, 0.01, ... 1
COLUMNS = ("probability", "precision", "recall")


def count_by_probability(logits: Tensor, target: Tensor, valid: Tensor, levels: int = DECISION_THRESHOLDS) -> Tensor:
    """Return the number of valid pixels by [height threshold, gap in the reference, probability], (K, 2, levels) int64.

    Args:
        logits: (B, K, H, W).
        target: 1 in a gap, (B, K, H, W).
        valid: (B, 1, H, W) bool.
        levels: Probabilities are rounded down to a multiple of 1 / (levels - 1).
    """
    channels = logits.shape[1]
    level = (logits.float().sigmoid() * (levels - 1)).long()
    channel = torch.arange(channels, device=logits.device)[:, None, None]
    position = (channel * 2 + (target > 0.5)) * levels + level
    # Invalid pixels have a position of their own. `bincount` would synchronize with the device to find its length.
    position = torch.where(valid, position, channels * 2 * levels).flatten()
    counts = torch.zeros(channels * 2 * levels + 1, dtype=torch.int64, device=logits.device)
    return counts.scatter_add_(0, position, torch.ones_like(position))[:-1].reshape(channels, 2, levels)


def count_by_decision_threshold(counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return true and false positives, true and false negatives, each (K, levels).

    A pixel is called a gap if its probability is at least the decision threshold.

    Args:
        counts: As returned by `count_by_probability`.
    """
    called = counts.flip(-1).cumsum(-1).flip(-1)
    false_positives, true_positives = called.unbind(1)
    canopy, gap = counts.sum(-1).unbind(1)
    return true_positives, false_positives, canopy[:, None] - false_positives, gap[:, None] - true_positives


@define(eq=False)
class PrecisionRecall:
    """A precision-recall curve for each height threshold, summed over a pass.

    Attributes:
        levels: Number of decision thresholds, evenly spaced from 0 to 1.
    """

    levels: int = DECISION_THRESHOLDS
    counts: Tensor | None = field(default=None, init=False)  # (K, 2, levels)
    thresholds: Tensor | None = field(default=None, init=False)  # (K,) meters

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Count the pixels of a batch. Logits (B, K, H, W). Does not synchronize with the device."""
        counts = count_by_probability(logits, batch.target, batch.valid, self.levels)
        self.counts = counts if self.counts is None else self.counts + counts
        self.thresholds = batch.thresholds[0].clone()

    def iterate_counts(self) -> Iterator[tuple[float, tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """Yield each height threshold in meters, with true and false positives, true and false negatives (levels,) on the CPU."""
        if self.counts is not None and self.thresholds is not None:
            tp, fp, tn, fn = count_by_decision_threshold(self.counts.cpu())
            yield from zip(self.thresholds.tolist(), zip(tp, fp, tn, fn, strict=True), strict=True)

    def iterate_curves(self) -> Iterator[tuple[str, list[list[float]]]]:
        """Yield the name and the rows of `COLUMNS` of each height threshold.

        Precision is NaN where no pixel is called a gap, recall where no pixel is a gap.
        """
        probabilities = torch.linspace(0, 1, self.levels, dtype=torch.float64)
        for meters, (tp, fp, _, fn) in self.iterate_counts():
            rows = torch.stack([probabilities, tp.double() / (tp + fp), tp.double() / (tp + fn)], dim=-1)
            yield f"precision_recall/gaps_below_{meters:g}m", rows.tolist()
