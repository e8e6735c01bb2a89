from __future__ import annotations

from functools import partial
from typing import Any

from attrs import frozen
from torch import Tensor

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig
from forestgaps_losses.closed_form import FocalDiceFunction, FocalDiceSettings
from forestgaps_losses.fields import eps_field, gamma_field, part_weight_field


def focal_dice_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, settings: FocalDiceSettings) -> Tensor:
    """Return focal_weight `focal_loss` + dice_weight `dice_loss` of each channel. Shapes: `ChannelFormula`.

    Computed with its gradient in closed form, which can be differentiated once.
    """
    values: Tensor = FocalDiceFunction.apply(logits, target, pixel_weights, settings)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return values


def validate_any_weight(instance: Any, attribute: Any, value: float) -> None:
    if value == 0 and instance.focal_weight == 0:
        raise ValueError("must be above 0 where focal_weight is 0: nothing would be left to minimize")


@frozen(kw_only=True)
class CombinedFocalDiceLoss(ChannelLossConfig):
    """Weighted sum of focal and Dice loss: sharp probabilities from the first, gaps that cover little of a tile from the second.

    focal_weight focal + dice_weight dice in each sample and threshold; see `focal` and `dice`. Also a loss by itself:
    `CombinedFocalDiceLoss(gamma=1.5)(logits, batch)`.

    Source: Lin et al. 2017, arXiv:1708.02002; Milletari, Navab & Ahmadi 2016, arXiv:1606.04797; the sum as in
    Zhu et al. 2019, arXiv:1808.05238
    """

    gamma: float = gamma_field()
    eps: float = eps_field()
    focal_weight: float = part_weight_field("the focal part")
    dice_weight: float = part_weight_field("the Dice part", validate_any_weight)

    @property
    def formula(self) -> ChannelFormula:
        settings = FocalDiceSettings(gamma=self.gamma, eps=self.eps, focal_weight=self.focal_weight, dice_weight=self.dice_weight)
        return partial(focal_dice_loss, settings=settings)
