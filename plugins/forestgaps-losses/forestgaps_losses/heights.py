"""Losses on canopy height, in meters.

The planes are points of the cumulative curve of height, P(height < t_k) = sigmoid(logit_k) with t_k ascending. Its mean is the
integral of what is above it,

    height = integral from 0 to t_K of (1 - P(height < t)) dt,

by the trapezoidal rule between the thresholds, with nothing below 0 m. What lies above the largest threshold cannot be
seen: this is the mean of the height cut off at t_K, and it is compared with the surveyed height cut off to 0 .. t_K. Between
two thresholds the curve says nothing either, so an answer that is sure of every threshold is right to within half their
distance, and these losses alone would rather have it unsure: add them to one that asks for the gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import gt, lt
from torch import Tensor
from torch.nn.functional import huber_loss

from forestgaps_core.components import Batch, Loss
from forestgaps_core.errors import DataError
from forestgaps_losses.crps import meters_of
from forestgaps_losses.planes import weighted_mean


def expected_height(logits: Tensor, thresholds: Tensor) -> Tensor:
    """Mean of the predicted height cut off at the largest threshold, (B, 1, H, W) meters.

    Args:
        logits: (B, K, H, W).
        thresholds: (B, K) meters, ascending.
    """
    below = torch.sigmoid(logits) * meters_of(thresholds)[:, :, None, None]
    return thresholds[:, -1:, None, None] - below.sum(1, keepdim=True)


@frozen(eq=False)
class HeightLoss:
    """The mean price of the height errors in each sample's valid pixels, then over the samples that have any; 0 if none has."""

    price: Callable[[Tensor], Tensor]  # of predicted minus surveyed height, meters

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.height is None:
            raise DataError("losses on heights need batches with `height`, the canopy height in meters")
        thresholds = batch.thresholds.float()
        surveyed = torch.where(batch.valid, batch.height.float(), 0).clamp(min=0).minimum(thresholds[:, -1:, None, None])
        error = expected_height(logits.float(), thresholds) - surveyed
        samples = weighted_mean(self.price(error), batch.valid.float())
        return weighted_mean(samples, batch.valid.flatten(1).any(1, keepdim=True).float())


def huber(error: Tensor, *, delta_m: float) -> Tensor:
    """error^2 / 2 within `delta_m` of 0, beyond it delta_m (|error| - delta_m / 2)."""
    return huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta_m)


def pinball(error: Tensor, *, quantile: float) -> Tensor:
    """Quantile times what the prediction lacks, 1 - quantile times what it has too much."""
    return torch.maximum(-quantile * error, (1 - quantile) * error)


@frozen(kw_only=True)
class Huber:
    """Huber loss on canopy height: squared for small errors, absolute for large ones, so that a wrong tree does not rule.

    e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond, in square meters, with e the predicted minus the surveyed height,
    both cut off at the largest threshold (see `forestgaps_losses.heights`).

    Source: Huber 1964, doi 10.1214/aoms/1177703732
    """

    delta_m: float = field(
        default=2.0, validator=[gt(0), lt(1000)], metadata={"help": "Errors up to here are squared, meters, above 0 to 1000."}
    )

    def build(self) -> Loss:
        return HeightLoss(partial(huber, delta_m=self.delta_m))

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss outside of a run, as in a notebook."""
        return self.build()(logits, batch)


@frozen(kw_only=True)
class Pinball:
    """Pinball loss on canopy height: too low and too high have their own prices.

    max(-q e, (1 - q) e) in meters, with e the predicted minus the surveyed height, both cut off at the largest threshold (see
    `forestgaps_losses.heights`). Half the absolute error at q = 0.5; at 0.9 the prediction tends to the height nine tenths of
    pixels like this one stay below.

    Source: Koenker & Bassett 1978, doi 10.2307/1913643
    """

    quantile: float = field(
        default=0.5, validator=[gt(0), lt(1)], metadata={"help": "Share of pixels that should lie below, between 0 and 1."}
    )

    def build(self) -> Loss:
        return HeightLoss(partial(pinball, quantile=self.quantile))

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss outside of a run, as in a notebook."""
        return self.build()(logits, batch)
