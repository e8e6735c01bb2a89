"""How steep the ground of a tile is."""

from __future__ import annotations

import torch
from torch import Tensor

GROUND_M = 10.0  # the ground is looked at in squares of this side, so that noise of the survey is no slope


def slope_deg(ground: Tensor, valid: Tensor, resolution_m: float) -> Tensor:
    """Mean slope of each tile, degrees, (B,) float32; NaN where it cannot be computed.

    The median of each square of `GROUND_M` (smaller in a tile under four squares wide) stands for it, which a few wrong ground
    points do not move. Where four squares meet, the slope is that of the plane that fits their medians best; the tile's is the
    mean of those. Pixels that make no whole square are left out.

    Args:
        ground: (B, 1, H, W), meters: surface less canopy height.
        valid: (B, 1, H, W) bool.
    """
    rows, columns = ground.shape[-2:]
    side = max(1, min(round(GROUND_M / resolution_m), rows // 4, columns // 4))
    high, wide = rows // side, columns // side
    if min(high, wide) < 2:
        return torch.full((len(ground),), torch.nan, device=ground.device)
    known = torch.where(valid, ground, torch.nan)[:, 0, : high * side, : wide * side]
    squares = known.reshape(-1, high, side, wide, side).transpose(2, 3).flatten(3).nanmedian(dim=3).values
    down, right = squares.diff(dim=1), squares.diff(dim=2)
    rise = torch.hypot((down[:, :, 1:] + down[:, :, :-1]) / 2, (right[:, 1:] + right[:, :-1]) / 2)
    return torch.rad2deg(torch.atan(rise / (side * resolution_m))).flatten(1).nanmean(dim=1)
