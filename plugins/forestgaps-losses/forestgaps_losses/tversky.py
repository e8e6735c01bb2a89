from __future__ import annotations

import math
from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import gt, le
from torch import Tensor

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig, weighted_mean
from forestgaps_losses.fields import eps_field, tversky_weight_field

POWER_OFFSET = 1e-6  # added before a power below 1, whose slope at 0 is infinite


def tversky_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, alpha: float, beta: float, eps: float) -> Tensor:
    """Return 1 - Tversky index of each channel, with probabilities instead of a mask: 0 (identical) to 1.

    e / (mean(p y) + e + eps) with the errors e = alpha mean(p (1 - y)) + beta mean((1 - p) y), and means weighted by
    `pixel_weights`. Without gaps only false positives are left, as in `dice_loss`. Shapes: `ChannelFormula`.

    Source: Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721
    """
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    terms = (p * target, p * (1 - target), q * target)
    true_positives, false_positives, false_negatives = (weighted_mean(values, pixel_weights) for values in terms)
    errors = alpha * false_positives + beta * false_negatives
    return errors / (true_positives + errors + eps)


def focal_tversky_loss(
    logits: Tensor, target: Tensor, pixel_weights: Tensor, *, alpha: float, beta: float, eps: float, power: float
) -> Tensor:
    """Return `tversky_loss` of each channel to a power; below 1, gradients stay large where a channel is nearly right.

    Source: Abraham & Khan 2019 (1 / gamma is our power), arXiv:1810.07842
    """
    loss = tversky_loss(logits, target, pixel_weights, alpha=alpha, beta=beta, eps=eps)
    return torch.pow(loss + POWER_OFFSET, power) - math.pow(POWER_OFFSET, power)


@frozen(kw_only=True)
class Tversky(ChannelLossConfig):
    """Tversky loss: Dice with separate weights for false positives (commission) and false negatives (omission).

    errors / (true positives + errors + eps), errors = alpha false positives + beta false negatives, all as fractions of the valid
    pixels of the channel. Both weights at 0.5 give Dice (with twice the eps). A higher `beta` detects more gaps, true and false.

    Source: Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721
    """

    alpha: float = tversky_weight_field(0.3, "false positives (commission)")
    beta: float = tversky_weight_field(0.7, "false negatives (omission)")
    eps: float = eps_field()

    @property
    def formula(self) -> ChannelFormula:
        return partial(tversky_loss, alpha=self.alpha, beta=self.beta, eps=self.eps)


@frozen(kw_only=True)
class FocalTversky(Tversky):
    """Tversky loss to a power: below 1 for small gaps that are nearly detected, above 1 for channels that are mostly wrong.

    (errors / (true positives + errors + eps))^power; see `tversky`.

    Source: Abraham & Khan 2019, arXiv:1810.07842
    """

    power: float = field(
        default=0.75,
        validator=[gt(0), le(5)],
        metadata={"help": "The power; 1 / gamma in the paper. Above 0 to 5; 1 is `tversky`."},
    )

    @property
    def formula(self) -> ChannelFormula:
        return partial(focal_tversky_loss, alpha=self.alpha, beta=self.beta, eps=self.eps, power=self.power)
