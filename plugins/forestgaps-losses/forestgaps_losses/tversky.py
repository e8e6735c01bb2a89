from __future__ import annotations

import math
from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import gt, le
from torch import Tensor

from forestgaps_losses.dice import eps_field
from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig, weighted_mean

FLAT = 1e-6  # added before a power below 1, whose slope at 0 is infinite


def tversky_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, alpha: float, beta: float, eps: float) -> Tensor:
    """1 - Tversky index of each plane, with probabilities in place of a mask: 0 (all agree) to 1.

    e / (mean(p y) + e + eps) with the errors e = alpha mean(p (1 - y)) + beta mean((1 - p) y), means over the
    pixels that count. Without any gap only false ones are left, as in `dice_loss`. Shapes: `PlaneFormula`.

    Source: Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721
    """
    p, canopy = torch.sigmoid(logits), torch.sigmoid(-logits)
    found, false, missed = (weighted_mean(values, pixels) for values in (p * target, p * (1 - target), canopy * target))
    errors = alpha * false + beta * missed
    return errors / (found + errors + eps)


def focal_tversky_loss(
    logits: Tensor, target: Tensor, pixels: Tensor, *, alpha: float, beta: float, eps: float, power: float
) -> Tensor:
    """`tversky_loss` of each plane to a power; below 1 it keeps pushing planes that agree well already.

    Source: Abraham & Khan 2019 (1 / gamma is our power), arXiv:1810.07842
    """
    loss = tversky_loss(logits, target, pixels, alpha=alpha, beta=beta, eps=eps)
    return torch.pow(loss + FLAT, power) - math.pow(FLAT, power)


@frozen(kw_only=True)
class Tversky(PlaneLossConfig):
    """Tversky loss: Dice with a price of its own for inventing gaps and for missing them.

    errors / (found + errors + eps), errors = alpha false + beta missed, all as shares of the plane's valid
    pixels. Both at 0.5 is Dice (with twice the eps); more on `beta` finds more gaps and invents more.

    Source: Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721
    """

    alpha: float = field(
        default=0.3, validator=[gt(0), le(10)], metadata={"help": "Price of canopy called gap; alpha in the paper. Above 0 to 10."}
    )
    beta: float = field(
        default=0.7, validator=[gt(0), le(10)], metadata={"help": "Price of gap called canopy; beta in the paper. Above 0 to 10."}
    )
    eps: float = eps_field()

    @property
    def formula(self) -> PlaneFormula:
        return partial(tversky_loss, alpha=self.alpha, beta=self.beta, eps=self.eps)


@frozen(kw_only=True)
class FocalTversky(Tversky):
    """Tversky loss to a power: below 1 for small gaps that are nearly found, above 1 for planes that are mostly wrong.

    (errors / (found + errors + eps))^power; see `tversky`.

    Source: Abraham & Khan 2019, arXiv:1810.07842
    """

    power: float = field(
        default=0.75,
        validator=[gt(0), le(5)],
        metadata={"help": "The power; 1 / gamma in the paper. Above 0 to 5; 1 is `tversky`."},
    )

    @property
    def formula(self) -> PlaneFormula:
        return partial(
            focal_tversky_loss,
            alpha=self.alpha,
            beta=self.beta,
            eps=self.eps,
            power=self.power,
        )
