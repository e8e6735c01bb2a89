"""Colours anyone can tell apart, as red, green and blue in 0..1.

Blue against orange for the two kinds of error (Okabe & Ito 2008, jfly.uni-koeln.de/color), and for probabilities the viridis
ramp, which also rises in lightness (Smith & van der Walt 2015).
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Colour: TypeAlias = tuple[float, float, float]

WHITE: Colour = (1.0, 1.0, 1.0)  # no data
CANOPY: Colour = (0.851, 0.851, 0.851)
GAP: Colour = (0.302, 0.302, 0.302)
MISSED: Colour = (0.0, 0.4471, 0.6981)  # blue: a gap the network did not see
FALSE_GAP: Colour = (0.902, 0.624, 0.0)  # orange: a gap that is none
VIRIDIS: tuple[Colour, ...] = (
    (0.267, 0.005, 0.329),
    (0.254, 0.265, 0.530),
    (0.164, 0.471, 0.558),
    (0.135, 0.659, 0.518),
    (0.478, 0.821, 0.318),
    (0.993, 0.906, 0.144),
)


def painted(codes: Tensor, colours: tuple[Colour, ...]) -> Tensor:
    """(..., H, W) whole numbers to (..., 3, H, W) colours of a list."""
    return torch.tensor(colours, device=codes.device)[codes.long()].movedim(-1, -3)


def ramp(share: Tensor, anchors: tuple[Colour, ...] = VIRIDIS) -> Tensor:
    """(..., H, W) in 0..1 to (..., 3, H, W) colours, linear between the anchors."""
    place = share.clamp(0, 1) * (len(anchors) - 1)
    low = place.floor().clamp(max=len(anchors) - 2)
    part = (place - low).unsqueeze(-3)
    return painted(low, anchors) * (1 - part) + painted(low + 1, anchors) * part
