"""A prediction as a picture: terrain, reference, probability and errors side by side."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, radians, sin
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.tracking.colours import CANOPY, CONFUSION, GAP, WHITE, painted, ramp

if TYPE_CHECKING:
    from forestgaps_core.components import Batch

LEGEND = (
    "Panels, left to right: hillshade of the surface; reference (dark grey: gap, light grey: canopy); probability of gap (dark "
    "purple 0, "
    "yellow 1); agreement (blue: true positive, orange: false negative (omission), purple: false positive (commission), light: "
    "canopy in both). White: no data."
)


def hillshade(dsm: Tensor, *, azimuth: float = 315.0, altitude: float = 45.0) -> Tensor:
    """Brightness in 0..1 of a surface lit from the north-west; (B, 1, H, W) metres to the same shape.

    Slopes are per pixel, as if a pixel were 1 m wide. Source: Horn 1981, Proc. IEEE 69(1), here with central differences.
    """
    height, width = dsm.shape[-2:]
    rows = torch.arange(height, device=dsm.device)
    columns = torch.arange(width, device=dsm.device)
    down, up = (rows + 1).clamp(max=height - 1), (rows - 1).clamp(min=0)
    right, left = (columns + 1).clamp(max=width - 1), (columns - 1).clamp(min=0)
    east = (dsm[..., right] - dsm[..., left]) / (right - left).clamp(min=1)
    north = (dsm[..., up, :] - dsm[..., down, :]) / (down - up).clamp(min=1)[:, None]
    x, y = sin(radians(azimuth)), cos(radians(azimuth))
    flat, tall = cos(radians(altitude)), sin(radians(altitude))
    return ((tall - flat * (east * x + north * y)) / (1 + east**2 + north**2).sqrt()).clamp(0, 1)


def prediction_pictures(dsm: Tensor, target: Tensor, valid: Tensor, logits: Tensor, *, border: int = 4) -> Tensor:
    """Four panels for every tile and threshold, left to right: DSM hillshade, reference, probability of gap, agreement.

    Args:
        dsm: (B, 1, H, W) metres.
        target: 1 in a gap, (B, K, H, W).
        valid: False where the survey has no data, (B, 1, H, W); white in every panel.
        logits: (B, K, H, W).
        border: Width of the white space between panels, pixels.

    Returns:
        (B, K, 3, H, 4 W + 3 border) uint8. Agreement: the colors of `palette.CONFUSION`.
    """
    surveyed, predicted = target > 0.5, logits > 0
    shade = hillshade(dsm)[:, :, None].expand(-1, target.shape[1], 3, -1, -1)
    reference = painted(surveyed, (CANOPY, GAP))
    probability = ramp(logits.float().sigmoid())
    errors = painted(2 * surveyed + predicted, CONFUSION)
    white = torch.tensor(WHITE, device=dsm.device)[:, None, None]
    panels = [torch.where(valid[:, :, None], panel, white) for panel in (shade, reference, probability, errors)]
    spaced = [pad(panel, (0, border), value=1.0) for panel in panels[:-1]]
    return (torch.cat([*spaced, panels[-1]], dim=-1) * 255).round().to(torch.uint8)


@define(eq=False)
class Pictures:
    """The first tiles of a pass, drawn on the device and read at its end."""

    wanted: int  # tiles still to come
    drawn: list[tuple[Tensor, Tensor]] = field(factory=list, init=False)  # pictures (n, K, 3, H, W), thresholds (n, K)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Draw the tiles of a batch that are still wanted. Logits (B, K, H, W). Does not wait for the device."""
        n = min(self.wanted, len(batch))
        if n:
            pictures = prediction_pictures(batch.dsm[:n], batch.target[:n], batch.valid[:n], logits[:n])
            self.drawn.append((pictures, batch.thresholds[:n].clone()))
            self.wanted -= n

    def pictures(self) -> Iterator[tuple[str, Tensor]]:
        """Names and pictures (3, H, W) uint8 on the CPU, for each tile and threshold."""
        tiles = [tile for pictures, thresholds in self.drawn for tile in zip(pictures.cpu(), thresholds.tolist(), strict=True)]
        for place, (planes, metres) in enumerate(tiles, start=1):
            for picture, threshold in zip(planes, metres, strict=True):
                yield f"gaps_below_{threshold:g}m/tile_{place}", picture
