from __future__ import annotations

from functools import partial
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import gt, le
from torch import Tensor

from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig, weighted_mean


def smooth_field() -> Any:
    return field(
        default=1e-3,
        validator=[gt(0), le(1)],
        metadata={
            "help": "Added to overlap and size, as a share of the plane's pixels, above 0 to 1: where gaps cover much less than "
            "this, missing them or inventing as little hardly costs."
        },
    )


def dice_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, smooth: float) -> Tensor:
    """1 - Dice coefficient of each plane, with probabilities in place of a mask: 0 (all agree) to 1.

    1 - (2 mean(p y) + smooth) / (mean(p) + mean(y) + smooth), means over the pixels that count. In a plane without any gap
    that is mean(p) / (mean(p) + smooth): 0 when none is predicted, 1/2 when `smooth` of the plane is, rising without a
    jump. Shapes: `PlaneFormula`.

    Source: Milletari, Navab & Ahmadi 2016, section 3, arXiv:1606.04797 (sizes there are squared)
    """
    p = torch.sigmoid(logits)
    overlap, predicted, surveyed = (weighted_mean(values, pixels) for values in (p * target, p, target))
    return 1 - (2 * overlap + smooth) / (predicted + surveyed + smooth)


@frozen(kw_only=True)
class Dice(PlaneLossConfig):
    """Dice loss: how far predicted and surveyed gaps are from covering each other, whatever share of the plane they fill.

    1 - (2 overlap + smooth) / (predicted + surveyed + smooth) in each sample and threshold, all as shares of the plane's
    valid pixels, with probabilities for the prediction. Since these are shares, `smooth` means the same for tiles of any size.

    Source: Milletari, Navab & Ahmadi 2016, arXiv:1606.04797
    """

    smooth: float = smooth_field()

    @property
    def formula(self) -> PlaneFormula:
        return partial(dice_loss, smooth=self.smooth)
