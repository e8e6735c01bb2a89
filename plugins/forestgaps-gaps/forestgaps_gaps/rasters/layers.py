"""The gap pixels of a raster at one threshold, read strip by strip."""

from __future__ import annotations

import numpy as np
from attrs import define, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_gaps.rasters.bands import MAP_NODATA, Flags, Heights, LayerBand
from forestgaps_gaps.rasters.grid import Pixel, measure_pixel
from forestgaps_geo.grids.grid import Grid


@frozen(eq=False)
class Pixels:
    """A strip of rows at one threshold. Each array has the shape (rows, columns).

    Attributes:
        gap: True in a gap. Never True where `valid` is False.
        valid: True where the raster has data.
        height: Canopy height, meters, NaN without data; None if the raster has no heights.
    """

    gap: Flags
    valid: Flags
    height: Heights | None


@define(eq=False)
class Layer:
    """The gap pixels of a raster at one threshold. Subclasses implement `read_pixels`.

    Attributes:
        threshold_m: Meters; NaN if the threshold of a map is unknown.
        at_most: Whether heights equal to the threshold are gap.
        name: For text and file names: "5 m", "gap", the description of a band.
        notes: Notes of the input checks on the raster.
    """

    grid: Grid
    threshold_m: float
    at_most: bool
    name: str
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def pixel(self) -> Pixel:
        return measure_pixel(self.grid)

    def read_pixels(self, row: int, rows: int) -> Pixels:
        """Return `rows` rows from row `row` on."""
        raise NotImplementedError

    def read_gap(self, row: int, rows: int) -> Flags:
        return self.read_pixels(row, rows).gap


@define(eq=False)
class HeightLayer(Layer):
    """Gaps are where canopy heights are below the threshold."""

    band: LayerBand = field(kw_only=True)

    def read_pixels(self, row: int, rows: int) -> Pixels:
        height, valid = self.band.read_heights(row, rows)
        threshold = height.dtype.type(self.threshold_m)  # rounded as the heights are: 0.1 is another number in float32
        gap = height <= threshold if self.at_most else height < threshold
        return Pixels(gap, valid, height)


@define(eq=False)
class MapLayer(Layer):
    """Gaps are where a gap map has the value 1."""

    band: LayerBand = field(kw_only=True)
    heights: LayerBand | None = field(kw_only=True)

    def read_pixels(self, row: int, rows: int) -> Pixels:
        values, valid = self.band.read(row, rows)
        if self.band.nodata is None and values.dtype.kind != "f":
            valid &= values != MAP_NODATA
        gap = (values == 1) & valid
        unexpected = valid & ~gap & (values != 0)
        if unexpected.any():
            y, x = (int(place[0]) for place in np.nonzero(unexpected))
            raise DataError(
                f"{self.band.path}: the value {values[y, x]} in row {row + y}, column {x} is not one of a gap map: 1 in gaps, 0 "
                f"elsewhere, {MAP_NODATA} or the nodata value without data. If the raster contains heights, add thresholds: -t 5"
            )
        return Pixels(gap, valid, None if self.heights is None else self.heights.read_heights(row, rows)[0])


@define(eq=False)
class CroppedLayer(Layer):
    """A part of another layer, from `row` and `column` on."""

    whole: Layer = field(kw_only=True)
    row: int = field(kw_only=True)
    column: int = field(kw_only=True)

    def read_pixels(self, row: int, rows: int) -> Pixels:
        pixels = self.whole.read_pixels(self.row + row, rows)
        part = slice(self.column, self.column + self.grid.columns)
        return Pixels(pixels.gap[:, part], pixels.valid[:, part], None if pixels.height is None else pixels.height[:, part])


@define(eq=False)
class JointLayer(Layer):
    """A layer, restricted to the pixels where another layer has data too."""

    own: Layer = field(kw_only=True)
    other: Layer = field(kw_only=True)

    def read_pixels(self, row: int, rows: int) -> Pixels:
        own = self.own.read_pixels(row, rows)
        valid = own.valid & self.other.read_pixels(row, rows).valid
        return Pixels(own.gap & valid, valid, own.height)
