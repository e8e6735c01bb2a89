"""Precision and recall at every cut, from counts of fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core import Batch

CUTS = 101  # probabilities 0, 0.01, ... 1
COLUMNS = ("probability", "precision", "recall")


def curve_counts(logits: Tensor, target: Tensor, valid: Tensor, cuts: int = CUTS) -> Tensor:
    """(K, 2, cuts) int64: valid pixels by threshold, surveyed gap, and probability rounded down to a multiple of 1 / (cuts - 1).

    Args:
        logits: (B, K, H, W).
        target: 1 in a gap, (B, K, H, W).
        valid: (B, 1, H, W) bool.
    """
    planes = logits.shape[1]
    level = (logits.float().sigmoid() * (cuts - 1)).long()
    plane = torch.arange(planes, device=logits.device)[:, None, None]
    place = (plane * 2 + (target > 0.5)) * cuts + level
    # Invalid pixels go to a place of their own. `bincount` would wait for the device to learn its length.
    place = torch.where(valid, place, planes * 2 * cuts).flatten()
    counts = torch.zeros(planes * 2 * cuts + 1, dtype=torch.int64, device=logits.device)
    return counts.scatter_add_(0, place, torch.ones_like(place))[:-1].reshape(planes, 2, cuts)


def confusion_at_cuts(counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True and false positives, true and false negatives (K, cuts) when a pixel is a gap from each cut on."""
    called = counts.flip(-1).cumsum(-1).flip(-1)
    false_positives, true_positives = called.unbind(1)
    canopy, gap = counts.sum(-1).unbind(1)
    return true_positives, false_positives, canopy[:, None] - false_positives, gap[:, None] - true_positives


@define(eq=False)
class Curves:
    """A precision-recall curve for each threshold over a whole pass."""

    counts: Tensor | None = field(default=None, init=False)
    thresholds: Tensor | None = field(default=None, init=False)  # (K,) metres

    def add(self, batch: Batch, logits: Tensor) -> None:
        counts = curve_counts(logits, batch.target, batch.valid)
        self.counts = counts if self.counts is None else self.counts + counts
        self.thresholds = batch.thresholds[0].clone()

    def curves(self) -> Iterator[tuple[str, list[list[float]]]]:
        """Names and rows of `COLUMNS`, for each threshold; NaN where nothing is called a gap, or there is none."""
        if self.counts is None or self.thresholds is None:
            return
        tp, fp, _, fn = (cells.double() for cells in confusion_at_cuts(self.counts.cpu()))
        cuts = torch.linspace(0, 1, tp.shape[-1], dtype=torch.float64).expand_as(tp)
        rows = torch.stack([cuts, tp / (tp + fp), tp / (tp + fn)], dim=-1).tolist()
        for metres, curve in zip(self.thresholds.tolist(), rows, strict=True):
            yield f"precision_recall/gaps_below_{metres:g}m", curve
