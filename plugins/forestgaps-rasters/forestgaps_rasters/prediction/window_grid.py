"""Where the windows of a raster lie, so that what one of them says depends on nothing but the pixels it sees.

Windows begin at multiples of `STRIDE_PIXELS` pixels (or of more, where a network needs it), counted from the origin of the CRS: the
halvings of a network then fall on the same pixels in every window, whatever its size, and in every crop or tile of a survey. So the
first window may begin before the raster, and the last may end after it; what lies outside is without data. Each window overlaps the
next; the border between two lies in the middle of what they share, and over a few pixels on either side of it, the feather, both
answers are kept to be blended. The last window of a line is moved back, so that it sees as much context as the others.

A block is one window with what is kept of it. It is the unit of work: computed alone, in any order, by any process.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import floor
from typing import TypeAlias

from attrs import frozen
from rasterio import Affine

STRIDE_PIXELS = 64  # pixels: six halvings
MAX_FEATHER_PIXELS = 32  # pixels, at most
ROUNDING_OFFSET = (
    0.381966  # rounds up from 0.618: grids shifted by half a pixel are common, and the last digit must not decide for them
)

BlockIndex: TypeAlias = tuple[int, int]
"""Place of a block among the blocks: (down, right)."""


def round_up(pixels: float, stride: int = STRIDE_PIXELS) -> int:
    """To a multiple of `stride`."""
    return -int(-pixels // stride) * stride


def compute_first_pixel(transform: Affine) -> tuple[int, int]:
    """Return row and column of a raster's first pixel, counted from the origin of the CRS; crops of one raster count alike."""
    return floor(transform.f / transform.e + ROUNDING_OFFSET), floor(transform.c / transform.a + ROUNDING_OFFSET)


@frozen
class WindowAxis:
    """The windows along rows or along columns.

    Attributes:
        extent: Pixels of the raster.
        size: Pixels of a window; the first and the last may reach beyond the raster by less than the stride.
        begins: Where windows begin; the first at 0 or before.
        borders: Between each window and the next.
        feather: Pixels on either side of a border where both are kept.
    """

    extent: int
    size: int
    starts: tuple[int, ...]
    borders: tuple[int, ...]
    feather: int

    @classmethod
    def create(cls, extent: int, window: int, overlap: int, stride: int = STRIDE_PIXELS, first: int = 0) -> WindowAxis:
        """
        Args:
            window: Side of the windows, a multiple of `stride`; they are narrower where no more of them then cover the raster.
            overlap: Pixels two windows share, a multiple of `stride`, at most half a window.
            first: Place of the raster's first pixel on the ground; windows begin at multiples of `stride` on the ground.
        """
        start = -(first % stride)
        covered = extent - start
        if covered <= window:
            return cls(extent, round_up(covered, stride), (start,), (), 0)
        needed = -(-(covered - overlap) // (window - overlap))
        window = min(window, round_up((covered + (needed - 1) * overlap) / needed, stride))
        step = window - overlap
        count = 1 + -(-(covered - window) // step)
        begins = (*range(start, start + (count - 1) * step, step), start + round_up(covered, stride) - window)
        borders = tuple(start + number * step + overlap // 2 for number in range(1, count))
        return cls(extent, window, begins, borders, min(overlap // 8, MAX_FEATHER_PIXELS))

    def __len__(self) -> int:
        return len(self.starts)

    def get_read_range(self, place: int) -> tuple[int, int]:
        """First pixel of a window and the one after its last, inside the raster."""
        return max(self.starts[place], 0), min(self.starts[place] + self.size, self.extent)

    def get_kept_range(self, place: int) -> tuple[int, int]:
        """First pixel kept of a window and the one after the last."""
        first = self.borders[place - 1] - self.feather if place else 0
        last = self.borders[place] + self.feather if place < len(self.borders) else self.extent
        return first, last


@frozen
class WindowGrid:
    """The blocks of a raster."""

    down: WindowAxis
    right: WindowAxis

    @classmethod
    def create(
        cls, rows: int, columns: int, window: int, overlap: int, stride: int = STRIDE_PIXELS, first: tuple[int, int] = (0, 0)
    ) -> WindowGrid:
        """`first`: row and column of the raster's first pixel on the ground, as `compute_first_pixel` returns them."""
        down, right = first
        return cls(
            WindowAxis.create(rows, window, overlap, stride, down), WindowAxis.create(columns, window, overlap, stride, right)
        )

    def __iter__(self) -> Iterator[BlockIndex]:
        """Row by row."""
        return iter(product(range(len(self.down)), range(len(self.right))))

    def __len__(self) -> int:
        return len(self.down) * len(self.right)

    def shape(self, item: BlockIndex) -> tuple[int, int]:
        """Rows and columns that are kept of a block."""
        (top, bottom), (left, right) = self.down.get_kept_range(item[0]), self.right.get_kept_range(item[1])
        return bottom - top, right - left
