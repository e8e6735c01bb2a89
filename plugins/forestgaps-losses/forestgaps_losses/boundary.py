from __future__ import annotations

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge, le, lt
from torch import Tensor
from torch.nn.functional import max_pool2d

from forestgaps_losses.bce import bce_loss
from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig


def edges(target: Tensor, pixels: Tensor, reach: int) -> Tensor:
    """True within `reach` pixels (rows and columns, diagonals too) of both gap and canopy, (B, K, H, W).

    Pixels that do not count are neither, so the border of the data is no edge.
    """

    def near(here: Tensor) -> Tensor:
        return max_pool2d(here.to(target.dtype), 2 * reach + 1, stride=1, padding=reach) > 0

    gap, counts = target > 0.5, pixels > 0
    return near(gap & counts) & near(~gap & counts)


def boundary_loss(logits: Tensor, target: Tensor, pixels: Tensor, *, reach: int, edge_weight: float) -> Tensor:
    """Mean binary cross-entropy of each plane in which pixels at the edges of gaps count `edge_weight`, others 1.

    Shapes: `PlaneFormula`. Source: Ronneberger, Fischer & Brox 2015, eq. 2 (with a bell of the distance), arXiv:1505.04597
    """
    at_edge = edges(target, pixels, reach)
    return bce_loss(logits, target, pixels * torch.where(at_edge, edge_weight, 1.0))


@frozen(kw_only=True)
class Boundary(PlaneLossConfig):
    """Cross-entropy with eyes on the edges of gaps: more there for sharp outlines, or less where the survey is unsure.

    Pixels within `reach` of both gap and canopy count `edge_weight`, others 1; a plane is the weighted mean.

    Source: Ronneberger, Fischer & Brox 2015, eq. 2, arXiv:1505.04597; a band in place of a bell
    """

    reach: int = field(default=2, validator=[ge(1), le(64)], metadata={"help": "Half the width of the edge, pixels, 1 to 64."})
    edge_weight: float = field(
        default=5.0,
        validator=[ge(0), lt(1e6)],
        metadata={"help": "How much a pixel at an edge counts; elsewhere 1. At least 0, which leaves edges out."},
    )

    @property
    def formula(self) -> PlaneFormula:
        return partial(boundary_loss, reach=self.reach, edge_weight=self.edge_weight)
