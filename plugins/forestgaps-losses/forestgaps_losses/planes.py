"""From a formula for planes to a loss.

A plane is one height threshold of one sample, (H, W) pixels. A formula gives one value for each plane, (B, K). Everything else
is the same for all losses and stands here: which pixels count, how targets are softened, and how planes become one number,

    loss = sum(w l) / sum(w)        over all planes that have a valid pixel; 0 if none has,

with l the plane's value and w the weight of its threshold.

So a plane counts by its threshold alone: neither by its valid pixels nor by its gaps. The other choice, pooling the pixels
of the batch first, would let the tiles with most gaps decide the overlap losses, would mix thresholds where
every sample draws its own, and would give other gradients for the same tile in another batch. Its price is that a plane with no
gap, or with a few valid pixels, counts like any other; the overlap losses therefore have their `eps`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from attrs import field, frozen
from attrs.validators import ge, gt, lt
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_losses.threshold_weights import GapFraction, ThresholdWeights, unknown, usable, weighting


class PlaneFormula(Protocol):
    """Values of the planes, (B, K); 0 in a plane where no pixel counts.

    Args:
        logits: (B, K, H, W), float32 or float64.
        target: 1 in a gap, 0 elsewhere, between when labels are smoothed, (B, K, H, W).
        pixels: How much each pixel counts, 0 where the survey has no data, (B, 1, H, W) or (B, K, H, W).
    """

    def __call__(self, logits: Tensor, target: Tensor, pixels: Tensor) -> Tensor: ...


def weighted_mean(values: Tensor, weights: Tensor, dim: tuple[int, ...] = (-2, -1)) -> Tensor:
    """sum(w v) / sum(w) over `dim`, with weights of at least 0 that broadcast; 0 where they are all 0."""
    total = weights.sum(dim)
    return (values * weights).sum(dim) / torch.where(total > 0, total, 1)


def counting(target: Tensor, valid: Tensor, pos_weight: float) -> Tensor:
    """How much each pixel counts: 0 without data, `pos_weight` in a gap, 1 elsewhere."""
    pixels = valid.to(target.dtype)
    return pixels if pos_weight == 1 else torch.addcmul(pixels, pixels, target, value=pos_weight - 1)


@frozen(eq=False)
class PlaneLoss:
    """A formula with all that surrounds it; see the module."""

    formula: PlaneFormula
    threshold_weights: Callable[[Tensor], Tensor]
    pos_weight: float = 1.0
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.target.float()
        pixels = counting(target, batch.valid, self.pos_weight)
        if self.label_smoothing:
            target = torch.lerp(target, target.new_full((), 0.5), self.label_smoothing)
        planes = self.formula(logits.float(), target, pixels)
        seen = batch.valid.flatten(1).any(1, keepdim=True)
        return weighted_mean(planes, self.threshold_weights(batch.thresholds) * seen)


@frozen(kw_only=True)
class PlaneLossConfig(ABC):
    """What a run file can say about every loss that compares planes."""

    threshold_weights: ThresholdWeights = field(
        default="equal",
        validator=usable,
        metadata={
            "help": 'How much each height threshold counts: "equal", "rarity" (more where gaps are rare in the training split), a '
            "list with one weight for each threshold of the run, or a table of weights by height in meters."
        },
    )
    pos_weight: float = field(
        default=1.0,
        validator=[gt(0), lt(1e6)],
        metadata={"help": "How much a gap pixel counts; a canopy pixel counts 1. Above 0."},
    )
    label_smoothing: float = field(
        default=0.0,
        validator=[ge(0), lt(1)],
        metadata={"help": "Certainty taken from the labels: targets are s/2 and 1 - s/2 instead of 0 and 1. 0 to below 1."},
    )

    @property
    @abstractmethod
    def formula(self) -> PlaneFormula:
        """The formula with its settings filled in."""

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = unknown) -> PlaneLoss:
        """The loss for a run; the arguments matter to `threshold_weights` only."""
        return PlaneLoss(
            formula=self.formula,
            threshold_weights=weighting(self.threshold_weights, thresholds, gap_fraction),
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
        )

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss outside of a run, as in a notebook; `build` first where weights depend on the run's thresholds."""
        return self.build()(logits, batch)
