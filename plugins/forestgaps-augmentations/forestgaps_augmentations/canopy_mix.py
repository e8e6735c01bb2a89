"""Canopy of another tile on the ground of this one: whole, in a square (CutMix), or blended (MixUp)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le

from forestgaps_core import Augmentation, Tiles
from forestgaps_core.runtime.rng import uniform

LARGEST_SQUARE = 0.5  # fraction of the tile


def mix_canopies(tiles: Tiles, *, swap: float, cutmix: float, mixup: float) -> Tiles:
    """Replace canopy by that of the next tile of the batch: all of it, a square of it, or the mean of both.

    The ground, DSM minus height, stays. Pixels where either tile has no data keep their canopy. Further layers follow the canopy,
    as colors do: replaced with it, and averaged with it.

    Args:
        tiles: (B, 1, H, W).
        swap: Fraction of tiles whose whole canopy is replaced.
        cutmix: Fraction of tiles of which a square is replaced.
        mixup: Fraction of tiles whose canopy heights are averaged with those of the other tile.

    Source: Yun et al. 2019, section 3.1, arXiv:1905.04899 (squares); Zhang et al. 2018, eq. 1, arXiv:1710.09412 (means);
    both of the canopies here, and not of the picture, whose ground must stay whole.
    """
    dsm, height, valid = tiles.dsm, tiles.height, tiles.valid
    row, column, size, cut, mixed, share, swapped = uniform(tiles.draw, "canopies", 7).to(dsm.dtype)[:, :, None, None].unbind(1)
    other, both = height.roll(1, dims=0), valid & valid.roll(1, dims=0)
    rows, columns = dsm.shape[-2:]
    y = torch.arange(rows, device=dsm.device, dtype=dsm.dtype)[None, :, None] / rows
    x = torch.arange(columns, device=dsm.device, dtype=dsm.dtype)[None, None, :] / columns
    half = (size * LARGEST_SQUARE).sqrt() / 2
    square = ((y - row).abs() < half) & ((x - column).abs() < half) & (cut < cutmix)
    square = square | (swapped < swap)
    # A mean keeps at least half of the tile's own canopy.
    weight = torch.where(square, 1.0, torch.where(mixed < mixup, share / 2, 0.0))[:, None]
    added = torch.where(both, weight * (other - height), 0.0)
    layers = {
        name: torch.where(both, torch.lerp(layer, layer.roll(1, dims=0), weight), layer) for name, layer in tiles.layers.items()
    }
    return evolve(tiles, dsm=dsm + added, height=height + added, layers=layers)


def fraction(default: float, text: str) -> Any:
    return field(default=default, validator=and_(ge(0), le(1)), metadata={"help": text})


@frozen(kw_only=True)
class CanopyMix:
    """Canopy of the next tile of the batch on the ground of this one: whole, in a square (CutMix) or blended (MixUp).

    Sources: Yun et al. 2019, section 3.1, arXiv:1905.04899; Zhang et al. 2018, eq. 1, arXiv:1710.09412
    """

    changes: ClassVar[tuple[str, ...]] = ("canopy", "layers")
    mixes_samples: ClassVar[bool] = True

    swap: float = fraction(0.2, "Fraction of tiles whose whole canopy is replaced by that of another tile, on their own ground.")
    cutmix: float = fraction(0.0, "Fraction of tiles in which a square of canopy is replaced by that of another tile.")
    mixup: float = fraction(0.0, "Fraction of tiles whose canopy heights are averaged with those of another tile.")

    def build(self) -> Augmentation:
        return partial(mix_canopies, swap=self.swap, cutmix=self.cutmix, mixup=self.mixup)
