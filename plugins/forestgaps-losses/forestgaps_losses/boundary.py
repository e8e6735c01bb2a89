from __future__ import annotations

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge, le, lt
from torch import Tensor
from torch.nn.functional import max_pool2d

from forestgaps_losses.bce import bce_loss
from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig


def find_edges(target: Tensor, pixel_weights: Tensor, reach: int) -> Tensor:
    """Return whether both gap and canopy are within `reach` pixels (Chebyshev distance) of each pixel, (B, K, H, W) bool.

    Pixels of weight 0 are neither gap nor canopy, so the border of the data is not an edge.
    """

    def dilate(mask: Tensor) -> Tensor:
        return max_pool2d(mask.to(target.dtype), 2 * reach + 1, stride=1, padding=reach) > 0

    gap, counted = target > 0.5, pixel_weights > 0
    return dilate(gap & counted) & dilate(~gap & counted)


def boundary_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, reach: int, edge_weight: float) -> Tensor:
    """Return the mean binary cross-entropy of each channel, with the weight `edge_weight` for pixels at edges and 1 elsewhere.

    Shapes: `ChannelFormula`. Source: Ronneberger, Fischer & Brox 2015, eq. 2 (there a Gaussian of the distance), arXiv:1505.04597
    """
    at_edge = find_edges(target, pixel_weights, reach)
    return bce_loss(logits, target, pixel_weights * torch.where(at_edge, edge_weight, 1.0))


@frozen(kw_only=True)
class Boundary(ChannelLossConfig):
    """Cross-entropy with another weight near the edges of gaps: above 1 for sharp outlines, below 1 where the survey is uncertain.

    Pixels within `reach` of both gap and canopy have the weight `edge_weight`, others 1; a channel is the weighted mean.

    Source: Ronneberger, Fischer & Brox 2015, eq. 2, arXiv:1505.04597; a band instead of a Gaussian
    """

    reach: int = field(default=2, validator=[ge(1), le(64)], metadata={"help": "Half the width of the edge, pixels, 1 to 64."})
    edge_weight: float = field(
        default=5.0,
        validator=[ge(0), lt(1e6)],
        metadata={"help": "Weight of a pixel at an edge; elsewhere 1. At least 0; 0 excludes edges."},
    )

    @property
    def formula(self) -> ChannelFormula:
        return partial(boundary_loss, reach=self.reach, edge_weight=self.edge_weight)
