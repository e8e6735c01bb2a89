"""Tree crowns: how wide a tree of some height is, and the surface its crown shows to a sensor above.

Widths are the regressions of crown width on height that Popescu & Wynne 2004 (doi 10.14358/PERS.70.5.589) found for deciduous
and for pine trees; beyond the 30 m of their trees width
grows with the square root of height. The shapes are the cone, paraboloid and ellipsoid
that Nelson 1997 (Remote Sensing of Environment 60:327) compared, as members of one family.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Generator, Tensor

from forestgaps_landscapes.simulation.fields import render_highest

MAX_MEASURED_HEIGHT_M = 30.0  # about the tallest trees of the regressions
MAX_CROWN_RATIO = 0.65  # widest crown of a small tree, as a fraction of its height: the regressions begin at 3 m


@frozen(eq=False)
class Trees:
    """Trees as tensors of one length. `conifer` is bool; all else is in meters or a fraction."""

    x: Tensor
    y: Tensor
    height: Tensor
    radius: Tensor
    conifer: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def where(self, kept: Tensor) -> Trees:
        return Trees(self.x[kept], self.y[kept], self.height[kept], self.radius[kept], self.conifer[kept])


def compute_crown_width(height_m: Tensor, conifer: Tensor) -> Tensor:
    """Mean crown diameter, meters, of trees so tall."""
    h = height_m.clamp(max=MAX_MEASURED_HEIGHT_M)
    width = torch.where(conifer, 3.75105 - 0.17919 * h + 0.01241 * h.square(), 3.09632 + 0.00895 * h.square())
    return torch.minimum(width * (height_m / h.clamp(min=0.1)).sqrt(), MAX_CROWN_RATIO * height_m)


def compute_crown_height(r: Tensor, height: Tensor, depth: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Height of a crown's upper side, H - depth (1 - (1 - r^a)^b), at the fraction r of its radius; -inf beyond.

    (a, b) is (1, 1) for a cone, (2, 1) for a paraboloid, (2, 1/2) for an ellipsoid.
    """
    inside = r < 1
    r = torch.where(inside, r, 0.0)
    return torch.where(inside, height - depth * (1 - (1 - r.pow(a)).pow(b)), -torch.inf)


def render_canopy(generator: Generator, size: int, resolution_m: float, trees: Trees) -> Tensor:
    """Height of the outer canopy, meters, 0 where no crown is; (size, size).

    Each crown is stretched and turned a little, and has its own shape between those of its kind.
    """
    own = torch.rand((5, len(trees)), generator=generator)
    stretch = 1 + 0.35 * own[0]
    cos, sin = torch.cos(own[1] * torch.pi), torch.sin(own[1] * torch.pi)
    depth = trees.height * torch.where(trees.conifer, 0.45 + 0.35 * own[2], 0.2 + 0.35 * own[2])
    a = torch.where(trees.conifer, 1.0 + 0.5 * own[3], 1.8 + 0.7 * own[3])
    b = torch.where(trees.conifer, 0.8 + 0.3 * own[4], 0.5 + 0.5 * own[4])

    def surface(i: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        along, across = cos[i] * dx + sin[i] * dy, cos[i] * dy - sin[i] * dx
        # Stretched one way and narrowed the other by the same factor: the crown keeps its area.
        r = torch.hypot(along / stretch[i].sqrt(), across * stretch[i].sqrt()) / trees.radius[i]
        return compute_crown_height(r, trees.height[i], depth[i], a[i], b[i])

    return render_highest(size, resolution_m, trees.x, trees.y, trees.radius * stretch.sqrt(), surface).clamp(min=0.0)
