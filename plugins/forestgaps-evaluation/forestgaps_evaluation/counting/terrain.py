"""The slope of the ground of a tile."""

from __future__ import annotations

import torch
from torch import Tensor

GROUND_M = 10.0  # side of the squares, so that survey noise does not increase the slope


def compute_slope_deg(ground: Tensor, valid: Tensor, resolution_m: float) -> Tensor:
    """Mean slope of each tile, degrees, (B,) float32; NaN where it cannot be computed.

    The tile is divided into squares of `GROUND_M` (smaller if the tile is less than four squares wide), each with the median of its
    ground, which is robust to wrong ground points. Where four squares meet, the slope is that of the plane that fits their medians
    best. The result is the mean of these slopes. Pixels outside of whole squares are left out.

    Args:
        ground: (B, 1, H, W), meters: surface minus canopy height.
        valid: (B, 1, H, W) bool.
    """
    rows, columns = ground.shape[-2:]
    side = max(1, min(round(GROUND_M / resolution_m), rows // 4, columns // 4))
    high, wide = rows // side, columns // side
    if min(high, wide) < 2:
        return torch.full((len(ground),), torch.nan, device=ground.device)
    valid_ground = torch.where(valid, ground, torch.nan)[:, 0, : high * side, : wide * side]
    squares = valid_ground.reshape(-1, high, side, wide, side).transpose(2, 3).flatten(3).nanmedian(dim=3).values
    down, right = squares.diff(dim=1), squares.diff(dim=2)
    rise = torch.hypot((down[:, :, 1:] + down[:, :, :-1]) / 2, (right[:, 1:] + right[:, :-1]) / 2)
    return torch.rad2deg(torch.atan(rise / (side * resolution_m))).flatten(1).nanmean(dim=1)
