"""The colors of `forestgaps_core.output.palette` as red, green and blue in 0..1, and pictures painted with them."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from forestgaps_core.output import palette

Colour: TypeAlias = tuple[float, float, float]

WHITE, CANOPY, GAP, TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = map(
    palette.rgb_shares,
    (
        palette.NO_DATA,
        palette.CANOPY,
        palette.GAP,
        palette.TRUE_POSITIVE,
        palette.FALSE_NEGATIVE,
        palette.FALSE_POSITIVE,
    ),
)
CONFUSION: tuple[Colour, ...] = tuple(map(palette.rgb_shares, palette.CONFUSION))  # by 2 * reference + predicted
VIRIDIS: tuple[Colour, ...] = tuple(map(palette.rgb_shares, palette.VIRIDIS))


def painted(codes: Tensor, colours: tuple[Colour, ...]) -> Tensor:
    """(..., H, W) whole numbers to (..., 3, H, W) colours of a list."""
    return torch.tensor(colours, device=codes.device)[codes.long()].movedim(-1, -3)


def ramp(share: Tensor, anchors: tuple[Colour, ...] = VIRIDIS) -> Tensor:
    """(..., H, W) in 0..1 to (..., 3, H, W) colours, linear between the anchors."""
    place = share.clamp(0, 1) * (len(anchors) - 1)
    low = place.floor().clamp(max=len(anchors) - 2)
    part = (place - low).unsqueeze(-3)
    return painted(low, anchors) * (1 - part) + painted(low + 1, anchors) * part
