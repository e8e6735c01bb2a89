"""From a formula for channels to a loss.

A channel is one height threshold of one sample, (H, W) pixels. A formula gives one value for each channel, (B, K). The rest is the
same for all losses and is done here: pixel weights, label smoothing, and the mean over the channels,

    loss = sum(w l) / sum(w)        over all channels that have a valid pixel; 0 if none has,

where l is the value of a channel and w the weight of its threshold.

So the weight of a channel depends on its threshold alone, not on its number of valid pixels or gaps. Pooling the pixels of the
batch first would let the tiles with most gaps dominate the overlap losses, would mix thresholds where each sample has its own, and
would give other gradients for the same tile in another batch. The cost of this choice: a channel without gaps, or with a few valid
pixels, has the same weight as any other. This is why the overlap losses have `eps`.
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
from forestgaps_losses.threshold_weights import (
    GapFraction,
    ThresholdWeights,
    build_threshold_weights,
    no_gap_fraction,
    validate_threshold_weights,
)


class ChannelFormula(Protocol):
    """Returns the values of the channels, (B, K); 0 for a channel in which all pixel weights are 0.

    Args:
        logits: (B, K, H, W), float32 or float64.
        target: 1 in a gap, 0 elsewhere, values between with label smoothing, (B, K, H, W).
        pixel_weights: At least 0, and 0 where the survey has no data, (B, 1, H, W) or (B, K, H, W).
    """

    def __call__(self, logits: Tensor, target: Tensor, pixel_weights: Tensor) -> Tensor: ...


def weighted_mean(values: Tensor, weights: Tensor, dim: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Return sum(w v) / sum(w) over `dim`, for weights of at least 0 that broadcast; 0 where all weights are 0."""
    total = weights.sum(dim)
    return (values * weights).sum(dim) / torch.where(total > 0, total, 1)


def compute_pixel_weights(target: Tensor, valid: Tensor, pos_weight: float) -> Tensor:
    """Return the weight of each pixel: 0 without data, `pos_weight` in a gap, 1 elsewhere."""
    weights = valid.to(target.dtype)
    return weights if pos_weight == 1 else torch.addcmul(weights, weights, target, value=pos_weight - 1)


@frozen(eq=False)
class ChannelLoss:
    """A loss made of a formula and the settings that all formulas share; see the module."""

    formula: ChannelFormula
    threshold_weights: Callable[[Tensor], Tensor]
    pos_weight: float = 1.0
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.target.float()
        pixel_weights = compute_pixel_weights(target, batch.valid, self.pos_weight)
        if self.label_smoothing:
            target = torch.lerp(target, target.new_full((), 0.5), self.label_smoothing)
        values = self.formula(logits.float(), target, pixel_weights)
        has_data = batch.valid.flatten(1).any(1, keepdim=True)
        return weighted_mean(values, self.threshold_weights(batch.thresholds) * has_data)


@frozen(kw_only=True)
class ChannelLossConfig(ABC):
    """The settings of every loss that compares channels."""

    threshold_weights: ThresholdWeights = field(
        default="equal",
        validator=validate_threshold_weights,
        metadata={
            "help": 'Weight of each height threshold: "equal", "rarity" (higher where gaps are rare in the training split), a '
            "list with one weight for each threshold of the run, or a table of weights by height in meters."
        },
    )
    pos_weight: float = field(
        default=1.0,
        validator=[gt(0), lt(1e6)],
        metadata={"help": "Weight of a gap pixel; a canopy pixel has 1. Above 0."},
    )
    label_smoothing: float = field(
        default=0.0,
        validator=[ge(0), lt(1)],
        metadata={"help": "Label smoothing s: targets are s/2 and 1 - s/2 instead of 0 and 1. 0 to below 1."},
    )

    @property
    @abstractmethod
    def formula(self) -> ChannelFormula:
        """The formula with its settings filled in."""

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = no_gap_fraction) -> ChannelLoss:
        """Return the loss for a run. Only `threshold_weights` needs the arguments."""
        return ChannelLoss(
            formula=self.formula,
            threshold_weights=build_threshold_weights(self.threshold_weights, thresholds, gap_fraction),
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
        )

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss outside of a run, as in a notebook. If weights depend on the run's thresholds, call `build` first."""
        return self.build()(logits, batch)
