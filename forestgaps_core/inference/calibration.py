"""Calibration: of all pixels with a probability of 0.7, 70 % are gap.

A trained network's logits z become a * z + b, with the slope a and the offset b of least log loss on data it was not trained on
(Platt 1999, Probabilistic outputs for support vector machines; with b = 0 it is the temperature 1 / a of Guo et al. 2017,
arXiv:1706.04599). A slope above 0 keeps the order of logits, so nested maps stay nested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt
from torch import Tensor
from torch.nn.functional import softplus

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError

REACH = 32.0  # logits; exp(-32) is 1e-14, beyond what any survey can tell
BINS_PER_LOGIT = 64
STEPS = 100  # of Newton's method, which needs about ten


@frozen(kw_only=True)
class Calibration:
    """What a network's logits are scaled by and shifted by before they become probabilities."""

    slope: float = field(default=1.0, validator=and_(gt(0), lt(100)))
    offset: float = field(default=0.0, validator=and_(ge(-REACH), le(REACH)))

    def __call__(self, logits: Tensor) -> Tensor:
        return self.slope * logits + self.offset


class LogitCounts:
    """Gap and canopy pixels by logit, all thresholds together: a metric whose values are a calibration and its log loss.

    Counts are kept in bins of 1/64, so memory does not grow with the data; logits beyond +-32 count as that.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None  # (2, bins) int64: canopy, gap

    def update(self, logits: Tensor, batch: Batch) -> None:
        bins = int(2 * REACH * BINS_PER_LOGIT)
        place = ((logits.float() + REACH) * BINS_PER_LOGIT).long().clamp(0, bins - 1)
        kind = (batch.target > 0.5).long() * bins
        found = (place + kind)[batch.valid.expand_as(place)].bincount(minlength=2 * bins).reshape(2, bins)
        self.counts = found if self.counts is None else self.counts + found

    def merge(self, other: Any) -> None:
        if other.counts is not None:
            self.counts = other.counts.clone() if self.counts is None else self.counts + other.counts

    def compute(self) -> Mapping[str, float]:
        """`slope`, `offset`, and the log loss per pixel before and after, in nats.

        Raises:
            DataError: No slope above 0 is best: all pixels of one class, or classes set apart by the logits, or none.
        """
        if self.counts is None:
            return {}
        counts = self.counts.double().cpu()
        middles = (torch.arange(counts.shape[1], dtype=torch.float64) + 0.5) / BINS_PER_LOGIT - REACH
        slope, offset = fit_calibration(middles, counts)
        losses = {
            "log_loss_before": log_loss(1.0, 0.0, middles, counts),
            "log_loss_after": log_loss(slope, offset, middles, counts),
        }
        return {"slope": slope, "offset": offset, **losses}


def log_loss(slope: float, offset: float, logits: Tensor, counts: Tensor) -> float:
    z = slope * logits + offset
    return ((counts[0] * softplus(z) + counts[1] * softplus(-z)).sum() / counts.sum()).item()


def fit_calibration(logits: Tensor, counts: Tensor) -> tuple[float, float]:
    """Slope and offset of least log loss, by Newton's method with halved steps; the loss is convex.

    Args:
        logits: Of each bin, (N,) float64.
        counts: Canopy and gap pixels of each bin, (2, N) float64.
    """
    both, gaps = counts.sum(0), counts[1]
    design = torch.stack([logits, torch.ones_like(logits)])
    at = torch.tensor([1.0, 0.0], dtype=torch.float64)
    unable = DataError(
        "the validation split cannot calibrate the network: its pixels are all of one class, or the logits set the classes apart "
        "without exception, or say nothing of them"
    )
    if not gaps.sum() or not counts[0].sum():
        raise unable
    for _ in range(STEPS):
        chance = (at @ design).sigmoid()
        slope = design @ (both * chance - gaps)
        weight = both * chance * (1 - chance)
        curvature = (design * weight) @ design.T
        step, status = torch.linalg.solve_ex(curvature, slope)
        if status.item() or not step.isfinite().all():
            raise unable
        before, length = log_loss(at[0].item(), at[1].item(), logits, counts), 1.0
        while length > 1e-6:
            a, b = (at - length * step).tolist()
            if log_loss(a, b, logits, counts) <= before:
                break
            length /= 2
        at = at - length * step
        if step.abs().max() < 1e-9 or length <= 1e-6:
            break
    found, offset = at.tolist()
    if not (1e-3 < found < 100 and abs(offset) <= REACH):
        raise unable
    return found, offset
