"""Random hills under the canopy."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_core import Augmentation, Tiles
from forestgaps_core.runtime.rng import uniform

WAVES = 24  # added up: enough to look random, few enough to cost nothing
WAVELENGTHS_M = (40.0, 800.0)  # shorter waves would look like canopy, longer ones like a tilt
ROUGHNESS = 1.2  # amplitude goes as wavelength to this power: natural relief is smooth at short range


def random_relief(draw: Tensor, rows: int, columns: int, *, relief_m: float, resolution_m: float) -> Tensor:
    """Return random terrain, (B, 1, rows, columns) float32 meters of mean 0: a sum of plane waves in random directions.

    The standard deviation of a tile's hills is `relief_m` times the square of a uniform number: gentle ground is common.
    Spectrum as that of natural relief, a power of the wavelength (Turcotte 1997, Fractals and Chaos in Geology and Geophysics,
    chapter 7). A wave is cos(ax + by), which splits into rows and columns, so all of them together are one matrix product.
    """
    turn, length, phase = uniform(draw, "hills", 3 * WAVES).to(torch.float32).reshape(-1, 3, WAVES).unbind(1)
    short, long = WAVELENGTHS_M
    wavelength = short * (long / short) ** length
    number = 2 * torch.pi * resolution_m / wavelength
    angle = 2 * torch.pi * turn
    y = torch.arange(rows, device=draw.device) * (number * angle.sin())[..., None] + 2 * torch.pi * phase[..., None]
    x = torch.arange(columns, device=draw.device) * (number * angle.cos())[..., None]
    amplitude = wavelength[..., None] ** ROUGHNESS
    waves: Tensor = (amplitude * y.cos()).mT @ x.cos() - (amplitude * y.sin()).mT @ x.sin()
    waves = waves - waves.mean((1, 2), keepdim=True)
    size = uniform(draw, "size", 1).to(torch.float32)[:, :, None].square() * relief_m
    relief: Tensor = waves / waves.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6) * size
    return relief[:, None]


def add_hills(tiles: Tiles, *, relief_m: float, resolution_m: float) -> Tiles:
    """Add random hills to the DSM of each tile; canopy heights above ground stay as they are."""
    rows, columns = tiles.dsm.shape[-2:]
    relief = random_relief(tiles.draw, rows, columns, relief_m=relief_m, resolution_m=resolution_m)
    return evolve(tiles, dsm=tiles.dsm + relief)


@frozen(kw_only=True)
class Hills:
    """Random hills under the canopy, with the spectrum of natural relief; canopy heights stay as they are.

    Source: Turcotte 1997, Fractals and Chaos in Geology and Geophysics, chapter 7 (spectrum).
    """

    changes: ClassVar[tuple[str, ...]] = ("ground",)

    relief_m: float = field(
        default=12.0,
        validator=and_(ge(0), le(1000)),
        metadata={"help": "Largest standard deviation of the hills of a tile, meters."},
    )

    def build(self, resolution_m: float) -> Augmentation:
        return partial(add_hills, relief_m=self.relief_m, resolution_m=resolution_m)
