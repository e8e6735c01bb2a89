from __future__ import annotations

from functools import partial
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, le, lt
from torch import Tensor

from forestgaps_losses.closed_form import FocalDicePlanes, FocalDiceSettings
from forestgaps_losses.dice import eps_field
from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig


def focal_dice_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, settings: FocalDiceSettings) -> Tensor:
    """focal_weight `focal_loss` + dice_weight `dice_loss`, of each plane. Shapes: `PlaneFormula`.

    Computed with its gradient in closed form, which can be differentiated once.
    """
    planes: Tensor = FocalDicePlanes.apply(logits, target, pixels, settings)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return planes


def either(instance: Any, attribute: Any, value: float) -> None:
    if value == 0 and instance.focal_weight == 0:
        raise ValueError("must be above 0 where focal_weight is 0: nothing would be left to minimise")


@frozen(kw_only=True)
class CombinedFocalDiceLoss(PlaneLossConfig):
    """Focal and Dice loss together: single pixels for sharp probabilities, overlap for gaps that fill little of the plane.

    focal_weight focal + dice_weight dice in each sample and threshold; see `focal` and `dice`. Also a loss by itself:
    `CombinedFocalDiceLoss(gamma=1.5)(logits, batch)`.

    Source: Lin et al. 2017, arXiv:1708.02002; Milletari, Navab & Ahmadi 2016, arXiv:1606.04797; the sum as in
    Zhu et al. 2019, arXiv:1808.05238
    """

    gamma: float = field(
        default=2.0,
        validator=[ge(0), le(10)],
        metadata={"help": "How fast well-classified pixels fade from the focal part; gamma in the paper. 0 (not at all) to 10."},
    )
    eps: float = eps_field()
    focal_weight: float = field(
        default=1.0, validator=[ge(0), lt(1e6)], metadata={"help": "How much the focal part counts. At least 0."}
    )
    dice_weight: float = field(
        default=1.0, validator=[ge(0), lt(1e6), either], metadata={"help": "How much the Dice part counts. At least 0."}
    )

    @property
    def formula(self) -> PlaneFormula:
        settings = FocalDiceSettings(gamma=self.gamma, eps=self.eps, focal_weight=self.focal_weight, dice_weight=self.dice_weight)
        return partial(focal_dice_loss, settings=settings)
