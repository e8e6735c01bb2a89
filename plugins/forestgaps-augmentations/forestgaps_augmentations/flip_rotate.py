"""The eight flips and quarter turns of a square."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from forestgaps_core import Augmentation, Tiles
from forestgaps_core.runtime.rng import uniform


def flip_rotate(tiles: Tiles) -> Tiles:
    """Flip and rotate each tile at random; DSM, height, mask and further layers move together. Tiles must be square."""
    chosen = (uniform(tiles.draw, "turns", 1)[:, 0] * 8).long()
    flip_x, flip_y, swap = (((chosen >> bit) & 1).bool()[:, None, None, None] for bit in range(3))

    def move(plane: Tensor) -> Tensor:
        plane = torch.where(flip_x, plane.flip(-1), plane)
        plane = torch.where(flip_y, plane.flip(-2), plane)
        return torch.where(swap, plane.transpose(-1, -2), plane)

    layers = {name: move(layer) for name, layer in tiles.layers.items()}
    return evolve(tiles, dsm=move(tiles.dsm), height=move(tiles.height), valid=move(tiles.valid), layers=layers)


@frozen(kw_only=True)
class FlipRotate:
    """One of the eight flips and quarter turns of the square tile, each as likely as the others."""

    changes: ClassVar[tuple[str, ...]] = ("place",)

    def build(self) -> Augmentation:
        return flip_rotate
