"""Precision and recall at every cut, from counts of fixed size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from forestgaps_core import Batch

CUTS = 127  # the largest number TensorBoard keeps


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

    def write(self, writer: SummaryWriter, step: int) -> None:
        if self.counts is None or self.thresholds is None:
            return
        confusion = confusion_at_cuts(self.counts.cpu())
        for plane, metres in enumerate(self.thresholds.tolist()):
            tp, fp, tn, fn = (cells[plane].double() for cells in confusion)
            # TensorBoard wants numbers: where nothing is called a gap, or there is none, it is told 0.
            precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
            writer.add_pr_curve_raw(f"gaps_below/{metres:g}m", tp, fp, tn, fn, precision, recall, step, CUTS)
