"""Statistics by grid cell: gap fraction, number of gaps, largest gap and mean canopy height, for example per hectare.

Cells are squares of whole pixels that begin at the north-west corner of the raster. The edge of the raster may cut the last cells.
`surveyed_m2` is the surveyed area of each cell. Sums over cells are the totals of the map.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_for_table
from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.statistics.window import add_to_cells
from forestgaps_geo.bands.writing import PLAIN_BANDS, NewRaster

Mask: TypeAlias = NDArray[np.bool_]
Reals: TypeAlias = NDArray[np.float64]

BAND_MEANINGS: Mapping[str, str] = {
    "surveyed_m2": "surveyed area",
    "gap_m2": "area of gaps",
    "gap_fraction": "area of gaps over surveyed area",
    "gaps": "gaps whose centroid is in the cell",
    "largest_m2": "area of the largest of these gaps, 0 without gaps",
    "height_mean": "mean canopy height of the surveyed pixels, meters",
}


@frozen(eq=False)
class Cells:
    """The statistics, each (R, C) float64, in the order of `BAND_MEANINGS`; NaN where nothing was surveyed.

    Attributes:
        side_m: Side of a cell, meters.
        pixels: Side of a cell, pixels.
        bands: Statistics by name. `height_mean` is missing without heights.
    """

    side_m: float
    pixels: int
    bands: Mapping[str, Reals]


def count_pixels_per_side(side_m: float, resolution_m: float) -> int:
    """Return the pixels along the side of a cell.

    Raises:
        DataError: The side is not a whole number of pixels.
    """
    pixels = round(side_m / resolution_m)
    if pixels < 1 or abs(pixels * resolution_m - side_m) > 1e-6 * side_m:
        whole = int(side_m / resolution_m)
        near = " or ".join(f"{count * resolution_m:g}" for count in (whole, whole + 1) if count)
        raise DataError(f"cells of {side_m:g} m are not a whole number of pixels of {resolution_m:g} m. Choose {near} m")
    return pixels


class CellCounts:
    """Sums for `Cells`, collected from strips of full-width rows."""

    def __init__(self, rows: int, columns: int, resolution_m: float, side_m: float = 100.0) -> None:
        self.pixels = count_pixels_per_side(side_m, resolution_m)
        self.side_m, self.resolution_m = side_m, resolution_m
        self.shape = (-(-rows // self.pixels), -(-columns // self.pixels))
        self.valid, self.gap = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.int64)
        self.height: Reals | None = None

    def add(self, row: int, gap: Mask, valid: Mask, height: NDArray[np.floating[Any]] | None = None) -> None:
        """Add rows from `row` on.

        Args:
            gap: True in a gap. Ignored where not valid.
            valid: True where surveyed.
            height: Meters. Ignored where not valid.
        """
        add_to_cells(self.valid, row, valid, self.pixels)
        add_to_cells(self.gap, row, gap & valid, self.pixels)
        if height is not None:
            self.height = np.zeros(self.shape) if self.height is None else self.height
            add_to_cells(self.height, row, np.where(valid, height, 0.0), self.pixels)

    def make_cells(self, table: GapTable) -> Cells:
        """Return the statistics; each gap is counted in the cell of its centroid."""
        count, largest = np.zeros(self.shape), np.zeros(self.shape)
        place = tuple(
            np.clip((at / self.pixels).astype(np.intp), 0, end - 1)
            for at, end in zip((table.row, table.column), self.shape, strict=True)
        )
        np.add.at(count, place, 1)
        np.maximum.at(largest, place, table.area_m2)
        seen, pixel_m2 = np.where(self.valid > 0, self.valid, np.nan), self.resolution_m**2
        bands: dict[str, Reals] = {
            "surveyed_m2": np.asarray(self.valid * pixel_m2, np.float64),
            "gap_m2": np.asarray(self.gap * pixel_m2, np.float64),
            "gap_fraction": self.gap / seen,
            "gaps": count,
            "largest_m2": largest,
        }
        if self.height is not None:
            bands["height_mean"] = self.height / seen
        return Cells(self.side_m, self.pixels, bands)


def write_cells(cells: Cells, path: Path, *, crs: Any, transform: Affine, **tags: str) -> None:
    """Write a GeoTIFF with a band for each statistic, NaN without data. Its cells are aligned with the pixels of the raster.

    Args:
        path: A new file.
        transform: Transform of the raster.
    """
    a, b, c, d, e, f = tuple(transform)[:6]
    rows, columns = next(iter(cells.bands.values())).shape
    with NewRaster(
        path,
        width=columns,
        height=rows,
        count=len(cells.bands),
        dtype="float64",
        nodata=np.nan,
        crs=crs,
        transform=Affine(a * cells.pixels, b * cells.pixels, c, d * cells.pixels, e * cells.pixels, f),
        compress="deflate",
        **PLAIN_BANDS,
    ) as raster:
        file = raster.file
        raster.write(np.stack(list(cells.bands.values())))
        file.descriptions = tuple(cells.bands)
        file.update_tags(cell_m=f"{cells.side_m:g}", **tags)
        for band, name in enumerate(cells.bands, 1):
            file.update_tags(band, meaning=BAND_MEANINGS[name])


def write_cell_table(cells: Cells, path: Path, *, transform: Affine) -> None:
    """Write the statistics as CSV, with a row for each cell and the coordinates of its center; undefined values are empty."""
    a, b, c, d, e, f = tuple(transform)[:6]
    rows, columns = np.indices(next(iter(cells.bands.values())).shape)
    across, down = (columns.ravel() + 0.5) * cells.pixels, (rows.ravel() + 0.5) * cells.pixels
    values = [rows.ravel(), columns.ravel(), a * across + b * down + c, d * across + e * down + f]
    values += [band.ravel() for band in cells.bands.values()]
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "column", "x", "y", *cells.bands])
        for line in zip(*(column.tolist() for column in values), strict=True):
            row, column, x, y, *numbers = line
            writer.writerow([row, column, f"{x:.12g}", f"{y:.12g}", *map(format_for_table, numbers)])
