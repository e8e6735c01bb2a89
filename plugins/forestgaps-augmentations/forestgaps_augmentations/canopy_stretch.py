"""Taller and lower canopy."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le

from forestgaps_core import Augmentation, Tiles
from forestgaps_core.runtime.rng import uniform


def stretch_canopy(tiles: Tiles, *, factor: float) -> Tiles:
    """Multiply the canopy heights of each tile by a number, log-uniform between 1 / `factor` and `factor`; the ground stays."""
    scale = factor ** (2 * uniform(tiles.draw, "stretch", 1).to(tiles.dsm.dtype)[:, :, None, None] - 1)
    added = tiles.height * (scale - 1)
    return evolve(tiles, dsm=tiles.dsm + added, height=tiles.height + added)


@frozen(kw_only=True)
class CanopyStretch:
    """Canopy heights of a tile multiplied by a random number; the ground stays as it is."""

    changes: ClassVar[tuple[str, ...]] = ("canopy",)

    factor: float = field(
        default=1.5,
        validator=and_(ge(1), le(4)),
        metadata={"help": "Heights are multiplied by a number between 1 over this and this."},
    )

    def build(self) -> Augmentation:
        return partial(stretch_canopy, factor=self.factor)
