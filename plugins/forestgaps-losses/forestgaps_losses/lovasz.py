from __future__ import annotations

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge, le
from torch import Tensor
from torch.nn.functional import relu

from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig


def lovasz_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, eps: float) -> Tensor:
    """Lovasz extension of 1 - IoU at the hinge errors of each plane: 0 where every pixel is right by a margin of 1.

    Pixels are taken from the worst error down; each error counts by what 1 - IoU rises when its pixel joins those that are
    wrong. IoU is that of a plane to which `eps` of its pixels were added as gap that is found, so that in a plane
    without gaps about that many of the worst errors share the loss, and not the very worst alone. A target y between 0 and 1 has
    the error it has on average, and counts as y of a gap. Unbounded, like any hinge. Shapes: `PlaneFormula`.

    Source: Berman, Rannen Triki & Blaschko 2018, arXiv:1705.08790
    """
    x, y, m = logits.flatten(2), target.flatten(2), pixels.expand_as(logits).flatten(2)
    errors, worst_first = (y * relu(1 - x) + (1 - y) * relu(1 + x)).sort(dim=-1, descending=True)
    with torch.no_grad():
        y, m = y.gather(-1, worst_first), m.gather(-1, worst_first)
        gap, canopy = m * y, m * (1 - y)
        found = gap.sum(-1, keepdim=True) + eps * m.sum(-1, keepdim=True)
        overlap = found - gap.cumsum(-1) + gap  # before the pixel joins
        union = found + canopy.cumsum(-1)  # after
        before = union - canopy
        # The rise written as one fraction: the difference of two IoUs of 65,000 pixels would be rounding.
        rise = (overlap * canopy + before * gap) / torch.where(before > 0, before * union, 1)
        rise = torch.where(before > 0, rise, (canopy > 0).to(rise.dtype))  # the first error where there is no gap at all
    return (errors * rise).sum(-1)


@frozen(kw_only=True)
class Lovasz(PlaneLossConfig):
    """Lovasz hinge: the convex surrogate of 1 - IoU, the score gap maps are mostly judged by.

    The errors max(0, 1 - logit) of gaps and max(0, 1 + logit) of canopy, sorted from the worst, each weighted by what IoU
    loses with its pixel, in each sample and threshold. Logits are margins here: their sigmoid is no calibrated probability.

    Source: Berman, Rannen Triki & Blaschko 2018, arXiv:1705.08790
    """

    eps: float = field(
        default=1e-3,
        validator=[ge(0), le(1)],
        metadata={"help": "Pixels added as gap that is found, as a share of the plane's, 0 (as in the paper) to 1."},
    )

    @property
    def formula(self) -> PlaneFormula:
        return partial(lovasz_loss, eps=self.eps)
