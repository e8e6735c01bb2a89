"""The surveyed area of a map, as a grid of square cells. Patterns are compared with random points in this area."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Points: TypeAlias = NDArray[np.float64]
Reals: TypeAlias = NDArray[np.float64]

MAX_WINDOW_CELLS = 1024  # along the longer side


@frozen(eq=False)
class Window:
    """The surveyed area. Points are in meters east and south of its north-west corner.

    Attributes:
        fraction: Surveyed fraction of each cell, 0 to 1, (R, C), row 0 in the north.
        cell_m: Side of a cell, meters.
    """

    fraction: Reals
    cell_m: float

    @property
    def area_m2(self) -> float:
        return float(self.fraction.sum()) * self.cell_m**2

    @property
    def perimeter_m(self) -> float:
        """Length of the outline along the sides of cells. Too large where the outline is oblique."""
        framed = np.pad(self.fraction > 0.5, 1)
        return float((framed[1:] != framed[:-1]).sum() + (framed[:, 1:] != framed[:, :-1]).sum()) * self.cell_m

    @property
    def is_rectangle(self) -> bool:
        return bool((self.fraction > 1 - 1e-9).all())

    def sample_points(self, count: int, random: np.random.Generator) -> Points:
        """Return (count, 2) points with complete spatial randomness: x east, y south, meters."""
        within = np.cumsum(self.fraction.ravel())
        cell = np.searchsorted(within, random.random(count) * within[-1], side="right").clip(max=self.fraction.size - 1)
        row, column = np.divmod(cell, self.fraction.shape[1])
        return (np.stack([column, row], 1) + random.random((count, 2))) * self.cell_m

    def compute_overlap(self, reach_m: float) -> Reals:
        """Return the area of the window's overlap with itself, moved by whole cells, m2: (2n + 1, 2n + 1), center unmoved."""
        cells = int(reach_m / self.cell_m) + 2
        framed = np.pad(self.fraction, cells)
        overlap = fftconvolve(framed, self.fraction[::-1, ::-1], mode="valid")
        return np.asarray(np.maximum(overlap, 0.0) * self.cell_m**2)


class WindowCounter:
    """Counts the surveyed pixels of each cell, from strips.

    Attributes:
        side: Side of a cell, pixels. By default, there are at most `MAX_WINDOW_CELLS` along the longer side.
    """

    def __init__(self, rows: int, columns: int, resolution_m: float, side: int | None = None) -> None:
        self.side = side or -(-max(rows, columns) // MAX_WINDOW_CELLS)
        self.resolution_m = resolution_m
        self.counts = np.zeros((-(-rows // self.side), -(-columns // self.side)), np.int64)

    def add(self, row: int, valid: NDArray[np.bool_]) -> None:
        """Add full-width rows from `row` on; `valid` is True where surveyed."""
        add_to_cells(self.counts, row, valid, self.side)

    def make_window(self) -> Window:
        return Window(self.counts / self.side**2, self.side * self.resolution_m)


def add_to_cells(cells: NDArray[Any], row: int, values: NDArray[Any], side: int) -> None:
    """Add full-width rows of values, from `row` on, to the sums of cells of `side` x `side` pixels."""
    across = np.add.reduceat(values, np.arange(0, values.shape[1], side), axis=1, dtype=cells.dtype)
    np.add.at(cells, np.arange(row, row + len(values)) // side, across)


def make_window(valid: NDArray[np.bool_], resolution_m: float) -> Window:
    """Return the window of a mask, (rows, columns)."""
    rows, columns = valid.shape
    counter = WindowCounter(rows, columns, resolution_m)
    counter.add(0, valid)
    return counter.make_window()
