"""Check whether a DSM fits its DTM or CHM, by the heights between them in a few dozen windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from attrs import frozen

from forestgaps_geo.bands.band import FloatArray
from forestgaps_geo.checks.findings import Finding, drop_none, format_fraction, make_error, make_note
from forestgaps_geo.checks.height_checks import (
    HeightStatistics,
    check_negative_heights,
    check_no_ground,
    check_offset,
    check_tall_trees,
)
from forestgaps_geo.checks.surface_shapes import compute_cell_extremes
from forestgaps_geo.checks.window_statistics import MAX_TREE_M, choose_cell_side, estimate_pixel_size_m, spread_windows
from forestgaps_geo.grids.grid import Grid


class WindowReader(Protocol):
    """A raster that is read in windows: (row, column, rows, columns) to (rows, columns) in meters, NaN without data."""

    @property
    def grid(self) -> Grid: ...
    @property
    def window(self) -> Callable[[int, int, int, int], FloatArray]: ...


@frozen(eq=False, kw_only=True)
class PairStatistics:
    """Heights above ground, measured in windows.

    Attributes:
        pixels: With data in both rasters.
        same: Of them, those where both rasters hold one value.
        below: Those where the height is under -1 m.
        tall: Those where it is over `MAX_TREE_M`.
        lows: The lowest height of each cell of 64 m.
        offset: Median height of the windows, meters; the middle one.
    """

    pixels: int
    same: int
    below: int
    tall: int
    lows: FloatArray
    offset: float

    @property
    def heights(self) -> HeightStatistics:
        return HeightStatistics(pixels=self.pixels, below=self.below, tall=self.tall, lows=self.lows)


def check_pair(surface: WindowReader, other: WindowReader, *, is_ground: bool, names: tuple[str, str]) -> list[Finding]:
    """Return the findings on a DSM with its DTM, or with its CHM.

    Args:
        surface: The DSM.
        other: On the same grid, the DTM if `is_ground`, else the CHM.
        names: Of the two files, for the sentences.
    """
    stand = measure_pair(surface, other, is_ground=is_ground)
    if not stand.pixels:
        return []
    check = check_dtm_pair if is_ground else check_chm_pair
    return list(check(stand, *names))


def measure_pair(surface: WindowReader, other: WindowReader, *, is_ground: bool) -> PairStatistics:
    grid = surface.grid
    side = choose_cell_side(grid.rows, grid.columns, estimate_pixel_size_m(grid))
    pixels = same = below = tall = 0
    lows: list[FloatArray] = [np.zeros(0, np.float32)]
    middles: list[float] = []
    for window in spread_windows(grid.rows, grid.columns):
        dsm, values = surface.window(*window), other.window(*window)
        height = dsm - values if is_ground else np.where(np.isfinite(dsm), values, np.float32(np.nan))
        valid_heights = height[np.isfinite(height)]
        if not valid_heights.size:
            continue
        pixels += valid_heights.size
        same += int((np.abs(dsm - values) < 1e-3).sum())
        below += int((valid_heights < -1).sum())
        tall += int((valid_heights > MAX_TREE_M).sum())
        lows.append(compute_cell_extremes(height, side)[0])
        middles.append(float(np.median(valid_heights)))
    return PairStatistics(
        pixels=pixels,
        same=same,
        below=below,
        tall=tall,
        lows=np.concatenate(lows),
        offset=float(np.median(middles)) if middles else 0.0,
    )


def check_dtm_pair(stand: PairStatistics, dsm: str, dtm: str) -> Iterator[Finding]:
    """A DSM and a DTM that are one, the wrong way round, or do not belong together."""
    same, below = stand.same / stand.pixels, stand.below / stand.pixels
    numbers = {"same": same, "below": below, "offset_m": stand.offset}
    if same > 0.99:
        sentence = f"{dsm} and {dtm} hold the same elevations ({format_fraction(same)} of pixels); is the one a copy of the other?"
        yield make_error("same raster", sentence, values=numbers)
    elif below > 0.1:
        problem = f"the DTM {dtm} lies more than 1 m above the DSM {dsm} in {format_fraction(below)} of pixels"
        why = "they are probably the wrong way round" if below > 0.3 and stand.offset < 0 else "they do not belong together"
        would = f"; the median of DSM less DTM is {stand.offset:.1f} m. Check which is which, and their units and vertical datum"
        yield make_error("ground above surface", f"{problem}: {why}{would}", values=numbers)
    elif below > 0.01:
        where = f"{format_fraction(below)} of pixels"
        sentence = f"the DTM {dtm} lies more than 1 m above the DSM {dsm} in {where}; heights there are negative"
        yield make_note("ground above surface", sentence, values=numbers)
    heights, named = stand.heights, f"{dsm} less {dtm}"
    why = "the two differ in vertical datum or unit, or one is another place"
    offset = None if below > 0.01 else check_offset(heights, named, "the two differ in vertical datum, such as geoid and ellipsoid")
    yield from drop_none([check_no_ground(heights, named, why) or offset, check_tall_trees(heights, named)])


def check_chm_pair(stand: PairStatistics, dsm: str, chm: str) -> Iterator[Finding]:
    """A CHM that is something else."""
    same, below = stand.same / stand.pixels, stand.below / stand.pixels
    numbers = {"same": same, "below": below, "offset_m": stand.offset}
    if same > 0.99:
        sentence = f"{chm} holds the same values as the DSM {dsm}, so it is no canopy height model"
        yield make_error("same raster", sentence, values=numbers)
    else:
        why = "it holds elevations (give a DTM by --dtm), or was made from a wrong ground"
        found = [
            check_negative_heights(stand.heights, chm),
            check_no_ground(stand.heights, chm, why),
            check_tall_trees(stand.heights, chm),
        ]
        yield from drop_none(found)
