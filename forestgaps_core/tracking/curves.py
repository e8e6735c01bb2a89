"""Precision and recall at every cut, from counts of fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.components import Batch

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
    """A precision-recall curve for each threshold over a whole pass.

    Attributes:
        cuts: How many probabilities from 0 to 1 a pixel may be called a gap from.
    """

    cuts: int = CUTS
    counts: Tensor | None = field(default=None, init=False)
    thresholds: Tensor | None = field(default=None, init=False)  # (K,) metres

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Count the pixels of a batch. Logits (B, K, H, W). Does not wait for the device."""
        counts = curve_counts(logits, batch.target, batch.valid, self.cuts)
        self.counts = counts if self.counts is None else self.counts + counts
        self.thresholds = batch.thresholds[0].clone()

    def confusions(self) -> Iterator[tuple[float, tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """Each threshold in metres; true and false positives, true and false negatives at its cuts, (cuts,) on the CPU."""
        if self.counts is not None and self.thresholds is not None:
            tp, fp, tn, fn = confusion_at_cuts(self.counts.cpu())
            yield from zip(self.thresholds.tolist(), zip(tp, fp, tn, fn, strict=True), strict=True)

    def curves(self) -> Iterator[tuple[str, list[list[float]]]]:
        """Names and rows of `COLUMNS`, for each threshold; NaN where nothing is called a gap, or there is none."""
        cuts = torch.linspace(0, 1, self.cuts, dtype=torch.float64)
        for metres, (tp, fp, _, fn) in self.confusions():
            rows = torch.stack([cuts, tp.double() / (tp + fp), tp.double() / (tp + fn)], dim=-1)
            yield f"precision_recall/gaps_below_{metres:g}m", rows.tolist()
