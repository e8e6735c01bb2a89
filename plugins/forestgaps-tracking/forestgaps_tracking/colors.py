"""The colors of `forestgaps_core.output.palette` as red, green and blue in 0..1, and pictures in these colors."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from forestgaps_core.output import palette

Color: TypeAlias = tuple[float, float, float]

WHITE, CANOPY, GAP, TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = map(
    palette.rgb_fractions,
    (
        palette.NO_DATA,
        palette.CANOPY,
        palette.GAP,
        palette.TRUE_POSITIVE,
        palette.FALSE_NEGATIVE,
        palette.FALSE_POSITIVE,
    ),
)
CONFUSION: tuple[Color, ...] = tuple(map(palette.rgb_fractions, palette.CONFUSION))  # by 2 * reference + predicted
VIRIDIS: tuple[Color, ...] = tuple(map(palette.rgb_fractions, palette.VIRIDIS))


def paint_classes(classes: Tensor, colors: tuple[Color, ...]) -> Tensor:
    """Return (..., 3, H, W) colors of (..., H, W) integers, which are positions in `colors`."""
    return torch.tensor(colors, device=classes.device)[classes.long()].movedim(-1, -3)


def paint_shares(shares: Tensor, anchors: tuple[Color, ...] = VIRIDIS) -> Tensor:
    """Return (..., 3, H, W) colors of (..., H, W) values in 0..1, interpolated linearly between the anchors."""
    position = shares.clamp(0, 1) * (len(anchors) - 1)
    low = position.floor().clamp(max=len(anchors) - 2)
    part = (position - low).unsqueeze(-3)
    return paint_classes(low, anchors) * (1 - part) + paint_classes(low + 1, anchors) * part
