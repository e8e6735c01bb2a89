from __future__ import annotations

from functools import partial

from attrs import field, frozen
from attrs.validators import ge, le, lt
from torch import Tensor

from forestgaps_losses.bce import bce_loss
from forestgaps_losses.closed_form import FocalDiceSettings
from forestgaps_losses.dice import eps_field
from forestgaps_losses.focal_dice import focal_dice_loss
from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig


def combo_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, bce_weight: float, settings: FocalDiceSettings) -> Tensor:
    """bce_weight `bce_loss` + `focal_dice_loss`, of each plane. Shapes: `PlaneFormula`."""
    return bce_weight * bce_loss(logits, target, pixels) + focal_dice_loss(logits, target, pixels, settings=settings)


@frozen(kw_only=True)
class Combo(PlaneLossConfig):
    """Cross-entropy, Dice and focal loss in one: calibrated probabilities, overlap, and attention to what is still wrong.

    bce_weight bce + dice_weight dice + focal_weight focal in each sample and threshold; see `bce`, `dice` and `focal`.

    Source: Taghanaki et al. 2019 (cross-entropy and Dice), arXiv:1805.02798; the focal part Lin et al. 2017,
    arXiv:1708.02002
    """

    bce_weight: float = field(
        default=1.0, validator=[ge(0), lt(1e6)], metadata={"help": "How much cross-entropy counts. At least 0."}
    )
    dice_weight: float = field(
        default=1.0, validator=[ge(0), lt(1e6)], metadata={"help": "How much the Dice part counts. At least 0."}
    )
    focal_weight: float = field(
        default=1.0, validator=[ge(0), lt(1e6)], metadata={"help": "How much the focal part counts. At least 0."}
    )
    gamma: float = field(
        default=2.0,
        validator=[ge(0), le(10)],
        metadata={"help": "How fast well-classified pixels fade from the focal part; gamma in the paper. 0 (not at all) to 10."},
    )
    eps: float = eps_field()

    def __attrs_post_init__(self) -> None:
        if not (self.bce_weight or self.dice_weight or self.focal_weight):
            raise ValueError("bce_weight, dice_weight and focal_weight are all 0: nothing would be left to minimise")

    @property
    def formula(self) -> PlaneFormula:
        settings = FocalDiceSettings(gamma=self.gamma, eps=self.eps, focal_weight=self.focal_weight, dice_weight=self.dice_weight)
        return partial(combo_loss, bce_weight=self.bce_weight, settings=settings)
