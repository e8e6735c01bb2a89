from __future__ import annotations

from functools import partial
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import gt, le
from torch import Tensor

from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig, weighted_mean


def eps_field() -> Any:
    return field(
        default=1e-3,
        validator=[gt(0), le(1)],
        metadata={
            "help": "Added to overlap and size, as a share of the plane's pixels, above 0 to 1: where gaps cover much less than "
            "this, missing them or inventing as little hardly costs."
        },
    )


def dice_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, eps: float) -> Tensor:
    """1 - Dice coefficient of each plane, with probabilities in place of a mask: 0 (all agree) to 1.

    1 - (2 mean(p y) + eps) / (mean(p) + mean(y) + eps), means over the pixels that count. In a plane without any gap
    that is mean(p) / (mean(p) + eps): 0 when none is predicted, 1/2 when `eps` of the plane is, rising without a
    jump. Shapes: `PlaneFormula`.

    Source: Milletari, Navab & Ahmadi 2016, section 3, arXiv:1606.04797 (sizes there are squared)
    """
    p = torch.sigmoid(logits)
    overlap, predicted, surveyed = (weighted_mean(values, pixels) for values in (p * target, p, target))
    return 1 - (2 * overlap + eps) / (predicted + surveyed + eps)


@frozen(kw_only=True)
class Dice(PlaneLossConfig):
    """Dice loss: how far predicted and surveyed gaps are from covering each other, whatever share of the plane they fill.

    1 - (2 overlap + eps) / (predicted + surveyed + eps) in each sample and threshold, all as shares of the plane's
    valid pixels, with probabilities for the prediction. Since these are shares, `eps` means the same for tiles of any size.

    Source: Milletari, Navab & Ahmadi 2016, arXiv:1606.04797
    """

    eps: float = eps_field()

    @property
    def formula(self) -> PlaneFormula:
        return partial(dice_loss, eps=self.eps)
