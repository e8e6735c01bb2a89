"""Losses on canopy height, in meters.

The channels are points of the cumulative distribution function of height, P(height < t_k) = sigmoid(logit_k), t_k ascending. The
mean height is the integral

    height = integral from 0 to t_K of (1 - P(height < t)) dt,

by the trapezoidal rule between the thresholds, with P = 0 at 0 m. Heights above the largest threshold are not predicted: this is
the mean of the height clipped at t_K, and it is compared with the reference height clipped to 0 .. t_K. Nothing is known between
two thresholds either: a certain prediction is right to within half their distance, and these losses alone prefer an uncertain one.
Combine them with a loss for gaps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import gt, lt
from torch import Tensor
from torch.nn.functional import huber_loss

from forestgaps_core.components import Batch, Loss
from forestgaps_core.errors import DataError
from forestgaps_losses.channel_loss import weighted_mean
from forestgaps_losses.crps import compute_threshold_widths


def compute_expected_height(logits: Tensor, thresholds: Tensor) -> Tensor:
    """Return the mean of the predicted height, clipped at the largest threshold, (B, 1, H, W) meters.

    Args:
        logits: (B, K, H, W).
        thresholds: (B, K) meters, ascending.
    """
    below = torch.sigmoid(logits) * compute_threshold_widths(thresholds)[:, :, None, None]
    return thresholds[:, -1:, None, None] - below.sum(1, keepdim=True)


@frozen(eq=False)
class HeightLoss:
    """The mean penalty of the height errors over the valid pixels of each sample, then over the samples; 0 without any."""

    penalty: Callable[[Tensor], Tensor]  # of predicted minus reference height, meters

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.height is None:
            raise DataError("losses on heights need batches with `height`, the canopy height in meters")
        thresholds = batch.thresholds.float()
        reference = torch.where(batch.valid, batch.height.float(), 0).clamp(min=0).minimum(thresholds[:, -1:, None, None])
        error = compute_expected_height(logits.float(), thresholds) - reference
        samples = weighted_mean(self.penalty(error), batch.valid.float())
        return weighted_mean(samples, batch.valid.flatten(1).any(1, keepdim=True).float())


@frozen(kw_only=True)
class HeightLossConfig(ABC):
    """A loss on heights, which can also be called without building it."""

    @abstractmethod
    def build(self) -> Loss:
        """Return the loss for a run."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss outside of a run, as in a notebook."""
        return self.build()(logits, batch)


def huber(error: Tensor, *, delta_m: float) -> Tensor:
    """Return error^2 / 2 within `delta_m` of 0, and delta_m (|error| - delta_m / 2) beyond."""
    return huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta_m)


def pinball(error: Tensor, *, quantile: float) -> Tensor:
    """Return max(-q e, (1 - q) e) for the quantile q and the error e."""
    return torch.maximum(-quantile * error, (1 - quantile) * error)


@frozen(kw_only=True)
class Huber(HeightLossConfig):
    """Huber loss on canopy height: squared for small errors, linear for large ones, so that outliers do not dominate.

    e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond, in square meters, where e is the predicted minus the reference
    height, both clipped at the largest threshold (see `forestgaps_losses.heights`).

    Source: Huber 1964, doi 10.1214/aoms/1177703732
    """

    delta_m: float = field(
        default=2.0, validator=[gt(0), lt(1000)], metadata={"help": "Errors up to this are squared, meters, above 0 to 1000."}
    )

    def build(self) -> Loss:
        return HeightLoss(partial(huber, delta_m=self.delta_m))


@frozen(kw_only=True)
class Pinball(HeightLossConfig):
    """Pinball (quantile) loss on canopy height, with different weights for too low and too high.

    max(-q e, (1 - q) e) in meters, where e is the predicted minus the reference height, both clipped at the largest threshold (see
    `forestgaps_losses.heights`). At q = 0.5 it is half the absolute error; at 0.9 the prediction tends to the height below which
    nine tenths of such pixels are.

    Source: Koenker & Bassett 1978, doi 10.2307/1913643
    """

    quantile: float = field(
        default=0.5, validator=[gt(0), lt(1)], metadata={"help": "Fraction of pixels that should be below, between 0 and 1."}
    )

    def build(self) -> Loss:
        return HeightLoss(partial(pinball, quantile=self.quantile))
