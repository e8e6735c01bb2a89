"""Pictures of predictions: surface, reference, probability and agreement side by side."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, radians, sin

import torch
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_tracking.colors import CANOPY, CONFUSION, GAP, WHITE, paint_classes, paint_shares
from forestgaps_tracking.first_tiles import FirstTiles

LEGEND = (
    "Panels, left to right: hillshade of the surface; reference (dark gray: gap, light gray: canopy); probability of gap "
    "(dark purple 0, yellow 1); agreement (blue: true positive, orange: false negative (omission), purple: false positive "
    "(commission), light: canopy in both). White: no data."
)


def hillshade(dsm: Tensor, *, azimuth: float = 315.0, altitude: float = 45.0) -> Tensor:
    """Return the brightness in 0..1 of a surface (B, 1, H, W) in meters, in the same shape.

    Slopes assume a pixel size of 1 m. Source: Horn 1981, Proc. IEEE 69(1), here with central differences.

    Args:
        dsm: Meters.
        azimuth: Direction of the sun, degrees from north.
        altitude: Height of the sun above the horizon, degrees.
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


def draw_predictions(dsm: Tensor, target: Tensor, valid: Tensor, logits: Tensor, *, border: int = 4) -> Tensor:
    """Return four panels for each tile and threshold, left to right: DSM hillshade, reference, probability of gap, agreement.

    Args:
        dsm: (B, 1, H, W) meters.
        target: 1 in a gap, (B, K, H, W).
        valid: False where the survey has no data, (B, 1, H, W); white in every panel.
        logits: (B, K, H, W).
        border: Width of the white space between panels, pixels.

    Returns:
        (B, K, 3, H, 4 W + 3 border) uint8. Agreement: the colors of `palette.CONFUSION`.
    """
    reference, predicted = target > 0.5, logits > 0
    shade = hillshade(dsm)[:, :, None].expand(-1, target.shape[1], 3, -1, -1)
    classes = paint_classes(reference, (CANOPY, GAP))
    probability = paint_shares(logits.float().sigmoid())
    agreement = paint_classes(2 * reference + predicted, CONFUSION)
    white = torch.tensor(WHITE, device=dsm.device)[:, None, None]
    panels = [torch.where(valid[:, :, None], panel, white) for panel in (shade, classes, probability, agreement)]
    spaced = [pad(panel, (0, border), value=1.0) for panel in panels[:-1]]
    return (torch.cat([*spaced, panels[-1]], dim=-1) * 255).round().to(torch.uint8)


def draw_tiles(tiles: FirstTiles) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and picture (3, H, W) uint8, on the CPU, of each tile and height threshold."""
    number = 0
    for batch, logits in tiles.kept:
        pictures = draw_predictions(batch.dsm, batch.target, batch.valid, logits).cpu()
        for tile, meters in zip(pictures, batch.thresholds.tolist(), strict=True):
            number += 1
            for picture, threshold in zip(tile, meters, strict=True):
                yield f"gaps_below_{threshold:g}m/tile_{number}", picture
