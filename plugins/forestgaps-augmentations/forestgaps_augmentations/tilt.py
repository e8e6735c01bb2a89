"""A plane of random slope and height under the canopy."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le, lt

from forestgaps_core import Augmentation, Tiles
from forestgaps_core.runtime.rng import uniform


def tilt(tiles: Tiles, *, slope: float, offset_m: float, resolution_m: float) -> Tiles:
    """Add a plane to the DSM of each tile; canopy heights above ground stay as they are.

    Args:
        tiles: (B, 1, H, W).
        slope: Largest slope of the plane in x and in y, rise over run.
        offset_m: Largest rise or fall of the whole tile, meters.
        resolution_m: Size of a pixel, meters.
    """
    dsm = tiles.dsm
    rows, columns = dsm.shape[-2:]
    slope_x, slope_y, rise = ((uniform(tiles.draw, "terrain", 3) * 2 - 1).to(dsm.dtype)).unbind(1)
    x = (torch.arange(columns, device=dsm.device, dtype=dsm.dtype) - (columns - 1) / 2) * resolution_m
    y = (torch.arange(rows, device=dsm.device, dtype=dsm.dtype) - (rows - 1) / 2) * resolution_m
    plane = slope_x[:, None, None] * x[None, None, :] + slope_y[:, None, None] * y[None, :, None]
    return evolve(tiles, dsm=dsm + (slope * plane + offset_m * rise[:, None, None])[:, None])


@frozen(kw_only=True)
class Tilt:
    """Terrain on a plane of random slope and elevation; canopy heights stay as they are."""

    changes: ClassVar[tuple[str, ...]] = ("ground",)

    slope: float = field(
        default=0.1,
        validator=and_(ge(0), lt(2)),
        metadata={"help": "Largest slope of the plane in each direction, rise over run."},
    )
    offset_m: float = field(
        default=100.0,
        validator=and_(ge(0), le(10_000)),
        metadata={"help": "Raise or lower the whole tile by up to so many meters."},
    )

    def build(self, resolution_m: float) -> Augmentation:
        return partial(tilt, slope=self.slope, offset_m=self.offset_m, resolution_m=resolution_m)
