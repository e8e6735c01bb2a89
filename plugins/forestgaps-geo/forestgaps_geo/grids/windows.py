"""Windows: the parts in which a raster is read, processed and written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

STRIP_PIXELS = 2**22  # pixels of a strip; a few arrays of them fit in memory


class Window(NamedTuple):
    """A rectangle of pixels. `band.read(*window)` reads it; arrays and rasterio accept its `slices`."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.rows), slice(self.column, self.column + self.columns)


def iterate_windows(rows: int, columns: int, window_rows: int, window_columns: int) -> Iterator[Window]:
    """Yield windows that cover a raster without overlap, row by row. Those at the last row and column may be smaller."""
    for row in range(0, rows, window_rows):
        for column in range(0, columns, window_columns):
            yield Window(row, column, min(window_rows, rows - row), min(window_columns, columns - column))


def iterate_strips(rows: int, columns: int, pixels: int = STRIP_PIXELS) -> Iterator[Window]:
    """Yield windows of whole rows, from north to south, of at most this number of pixels or of one row."""
    return iterate_windows(rows, columns, max(pixels // max(columns, 1), 1), max(columns, 1))
