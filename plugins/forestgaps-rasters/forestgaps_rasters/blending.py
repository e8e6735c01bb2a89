"""Overlapping windows over a raster of any size, blended so that no seam shows.

Windows stand on a regular grid; the last of a row or column is moved back inside. Where windows overlap their results are
averaged with weights that rise from a window's edge over the overlap. Weights are products of a weight by row and one by
column, and so are their sums: two lines of numbers replace a second accumulator. One strip of windows is held at a time:
memory is proportional to window times width, never to area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_rasters.bands import Plane

Windows: TypeAlias = Callable[[Plane, NDArray[np.bool_]], Plane]
"""(B, h, w) metres and validity to (B, K, h, w) probabilities."""

MULTIPLE = 32  # windows of a raster smaller than the window asked are rounded up to it, which suits most networks


def starts(extent: int, window: int, step: int) -> list[int]:
    """Where windows begin; the last ends with the raster."""
    return [0] if extent <= window else [*range(0, extent - window, step), extent - window]


def ramp(window: int, overlap: int) -> Plane:
    """The weight of each row of a window: sin^2 up over the overlap, 1, and down again; never 0, and 1 in sum where two overlap."""
    rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    weight = np.ones(window)
    weight[:overlap] *= rise
    weight[window - overlap :] *= rise[::-1]
    return weight.astype(np.float32)


@frozen
class Axis:
    """The windows along rows or along columns."""

    size: int  # of a window
    extent: int  # of the raster, at least a window
    begins: tuple[int, ...]
    weight: Plane
    total: Plane  # sum of the weights at each place

    @classmethod
    def over(cls, extent: int, window: int, overlap: int) -> Axis:
        size = min(window, -(-extent // MULTIPLE) * MULTIPLE)
        padded, overlap = max(extent, size), min(overlap, size // 2)
        begins = starts(padded, size, size - overlap)
        weight, total = ramp(size, overlap), np.zeros(padded, np.float32)
        for begin in begins:
            total[begin : begin + size] += weight
        return cls(size, padded, tuple(begins), weight, total)


@frozen(eq=False)
class Strip:
    """Finished rows: (K, rows, columns) probabilities, and the (rows, columns) surface, NaN without data.

    The surface is a view that the next strip overwrites.
    """

    row: int
    probabilities: Plane
    surface: Plane


def blended(
    read: Callable[[int, int], Plane],
    predict: Windows,
    *,
    rows: int,
    columns: int,
    planes: int,
    window: int,
    overlap: int,
    batch: int,
) -> Iterator[Strip]:
    """The prediction of a whole raster, in strips from the top.

    Args:
        read: (first row, rows) to (rows, columns) metres, NaN without data.
        predict: Called with windows of which at least one pixel is valid.
        planes: K, what `predict` returns for each window.
        overlap: Pixels two windows share, at most half a window.
        batch: Windows given to `predict` at once.
    """
    down, right = Axis.over(rows, window, overlap), Axis.over(columns, window, overlap)
    surface = np.full((down.size, right.extent), np.nan, np.float32)
    total = np.zeros((planes, down.size, right.extent), np.float32)
    weight = down.weight[:, None] * right.weight
    filled = 0
    for place, top in enumerate(down.begins):
        last = min(top + down.size, rows)
        surface[filled - top : last - top, :columns] = read(filled, last - filled)
        filled = last
        known = np.isfinite(surface)
        begins = [x for x in right.begins if known[:, x : x + right.size].any()]
        for first in range(0, len(begins), batch):
            some = begins[first : first + batch]
            seen = predict(
                np.stack([surface[:, x : x + right.size] for x in some]), np.stack([known[:, x : x + right.size] for x in some])
            )
            for x, window_planes in zip(some, seen, strict=True):
                total[:, :, x : x + right.size] += window_planes * weight
        following = down.begins[place + 1] if place + 1 < len(down.begins) else rows
        done = following - top
        sums = down.total[top:following, None] * right.total[None, :columns]
        yield Strip(top, np.clip(total[:, :done, :columns] / sums, 0, 1), surface[:done, :columns])
        keep = down.size - done
        surface[:keep], total[:, :keep] = surface[done:].copy(), total[:, done:].copy()
        surface[keep:], total[:, keep:] = np.nan, 0
