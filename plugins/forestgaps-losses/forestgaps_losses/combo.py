from __future__ import annotations

from functools import partial

from attrs import frozen
from torch import Tensor

from forestgaps_losses.bce import bce_loss
from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig
from forestgaps_losses.closed_form import FocalDiceSettings
from forestgaps_losses.fields import eps_field, gamma_field, part_weight_field
from forestgaps_losses.focal_dice import focal_dice_loss


def combo_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, bce_weight: float, settings: FocalDiceSettings) -> Tensor:
    """Return bce_weight `bce_loss` + `focal_dice_loss` of each channel. Shapes: `ChannelFormula`."""
    bce = bce_weight * bce_loss(logits, target, pixel_weights)
    return bce + focal_dice_loss(logits, target, pixel_weights, settings=settings)


@frozen(kw_only=True)
class Combo(ChannelLossConfig):
    """Weighted sum of cross-entropy, Dice and focal loss.

    bce_weight bce + dice_weight dice + focal_weight focal in each sample and threshold; see `bce`, `dice` and `focal`.

    Source: Taghanaki et al. 2019 (cross-entropy and Dice), arXiv:1805.02798; the focal part Lin et al. 2017,
    arXiv:1708.02002
    """

    bce_weight: float = part_weight_field("cross-entropy")
    dice_weight: float = part_weight_field("the Dice part")
    focal_weight: float = part_weight_field("the focal part")
    gamma: float = gamma_field()
    eps: float = eps_field()

    def __attrs_post_init__(self) -> None:
        if not (self.bce_weight or self.dice_weight or self.focal_weight):
            raise ValueError("bce_weight, dice_weight and focal_weight are all 0: nothing would be left to minimize")

    @property
    def formula(self) -> ChannelFormula:
        settings = FocalDiceSettings(gamma=self.gamma, eps=self.eps, focal_weight=self.focal_weight, dice_weight=self.dice_weight)
        return partial(combo_loss, bce_weight=self.bce_weight, settings=settings)
