"""Where the windows of a raster lie, so that what one of them says depends on nothing but the pixels it sees.

Windows begin at multiples of `STRIDE` pixels from the raster's corner (or of more, where a network says so): the halvings of a
network then fall on the same pixels in every window, whatever its size. Each window overlaps the next; the border between two lies
in the middle of what they share, and over a few pixels on either side of it, the feather, both answers are kept to be blended. The
last window of a line is moved back inside the raster, so that it sees as much context as the others.

A block is one window with what is kept of it. It is the unit of work: computed alone, in any order, by any process.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TypeAlias

from attrs import frozen

STRIDE = 64  # pixels: six halvings
FEATHER = 32  # pixels, at most

Item: TypeAlias = tuple[int, int]
"""Place of a block among the blocks: (down, right)."""


def rounded_up(pixels: float, stride: int = STRIDE) -> int:
    """To a multiple of `stride`."""
    return -int(-pixels // stride) * stride


@frozen
class Axis:
    """The windows along rows or along columns.

    Attributes:
        extent: Pixels of the raster.
        size: Pixels of a window; the last may reach beyond the raster by less than the stride.
        begins: Where windows begin.
        borders: Between each window and the next.
        feather: Pixels on either side of a border where both are kept.
    """

    extent: int
    size: int
    begins: tuple[int, ...]
    borders: tuple[int, ...]
    feather: int

    @classmethod
    def over(cls, extent: int, window: int, overlap: int, stride: int = STRIDE) -> Axis:
        """
        Args:
            window: Side of the windows, a multiple of `stride`; they are narrower where no more of them then cover the raster.
            overlap: Pixels two windows share, a multiple of `stride`, at most half a window.
        """
        if extent <= window:
            return cls(extent, rounded_up(extent, stride), (0,), (), 0)
        needed = -(-(extent - overlap) // (window - overlap))
        window = min(window, rounded_up((extent + (needed - 1) * overlap) / needed, stride))
        step = window - overlap
        count = 1 + -(-(extent - window) // step)
        begins = (*range(0, (count - 1) * step, step), rounded_up(extent, stride) - window)
        borders = tuple(number * step + overlap // 2 for number in range(1, count))
        return cls(extent, window, begins, borders, min(overlap // 8, FEATHER))

    def __len__(self) -> int:
        return len(self.begins)

    def seen(self, place: int) -> tuple[int, int]:
        """First pixel of a window and the one after its last, inside the raster."""
        return self.begins[place], min(self.begins[place] + self.size, self.extent)

    def kept(self, place: int) -> tuple[int, int]:
        """First pixel kept of a window and the one after the last."""
        first = self.borders[place - 1] - self.feather if place else 0
        last = self.borders[place] + self.feather if place < len(self.borders) else self.extent
        return first, last


@frozen
class Lattice:
    """The blocks of a raster."""

    down: Axis
    right: Axis

    @classmethod
    def over(cls, rows: int, columns: int, window: int, overlap: int, stride: int = STRIDE) -> Lattice:
        return cls(Axis.over(rows, window, overlap, stride), Axis.over(columns, window, overlap, stride))

    def __iter__(self) -> Iterator[Item]:
        """Row by row."""
        return iter(product(range(len(self.down)), range(len(self.right))))

    def __len__(self) -> int:
        return len(self.down) * len(self.right)

    def shape(self, item: Item) -> tuple[int, int]:
        """Rows and columns that are kept of a block."""
        (top, bottom), (left, right) = self.down.kept(item[0]), self.right.kept(item[1])
        return bottom - top, right - left
