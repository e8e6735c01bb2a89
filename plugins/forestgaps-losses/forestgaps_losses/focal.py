from __future__ import annotations

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge, le
from torch import Tensor
from torch.nn.functional import logsigmoid

from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig, weighted_mean


def focal_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, gamma: float) -> Tensor:
    """Cross-entropy that fades on pixels already classified well, its mean in each plane.

    A pixel costs -(1 - p)^gamma log p, with p the probability given to its true class; a target y between 0 and 1 costs
    y times the cost of a gap and 1 - y times that of canopy. `gamma=0` is plain cross-entropy. Shapes: `PlaneFormula`.

    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002
    """
    log_gap, log_canopy = logsigmoid(logits), logsigmoid(-logits)
    # exp of a logarithm, not a power: the slope of x^gamma at 0 is infinite where gamma is below 1.
    if_gap = torch.exp(gamma * log_canopy) * log_gap
    if_canopy = torch.exp(gamma * log_gap) * log_canopy
    return weighted_mean(-torch.lerp(if_canopy, if_gap, target), pixels)


@frozen(kw_only=True)
class Focal(PlaneLossConfig):
    """Focal loss: cross-entropy that spends itself on the pixels that are still wrong.

    A valid pixel costs -(1 - p)^gamma log p, with p the probability given to its true class; a plane is the mean over its
    pixels. For planes where nearly everything is easy canopy.

    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002. Its alpha is here `pos_weight`, alpha / (1 - alpha).
    """

    gamma: float = field(
        default=2.0,
        validator=[ge(0), le(10)],
        metadata={"help": "How fast pixels fade as they are classified better; gamma in the paper. 0 (not at all) to 10."},
    )

    @property
    def formula(self) -> PlaneFormula:
        return partial(focal_loss, gamma=self.gamma)
