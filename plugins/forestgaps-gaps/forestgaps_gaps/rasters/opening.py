"""Where gaps are: canopy heights below a threshold, or a gap map as it is. Read strip by strip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import isfinite, nan
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from forestgaps_core.config.thresholds import explain_indistinct_heights
from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.gap_table import Flags
from forestgaps_gaps.rasters.grid import Grid, is_same_grid, read_grid, require_overlap
from forestgaps_geo.bands.band import Band as RasterBand
from forestgaps_geo.bands.band import convert_values
from forestgaps_geo.bands.band_selection import choose_band, describe_bands, list_value_bands, require_band
from forestgaps_geo.bands.elevation_checks import MAX_SENTINELS
from forestgaps_geo.bands.georeference import format_align_command
from forestgaps_geo.bands.height_units import HeightUnit, resolve_height_unit
from forestgaps_geo.bands.value_band import ValueBand, make_value_band
from forestgaps_geo.checks.input_checks import check_grid, check_raster, resolve_findings
from forestgaps_geo.files.gdal import configure_gdal, convert_gdal_errors
from forestgaps_geo.files.header_checks import REAL_DTYPES
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.grids.grid import Grid as RasterGrid

Heights: TypeAlias = NDArray[np.floating[Any]]  # float32, or float64 where the file has that

MAP_NODATA = 255  # in the gap maps of `forestgaps predict`
SAMPLE_WINDOWS = 16  # windows looked at to tell a gap map from heights
MIN_HEIGHT_M, MAX_HEIGHT_M = -100.0, 1000.0  # meters; beyond is no canopy height, but a nodata value that the file does not name


@frozen(eq=False)
class Pixels:
    """Some rows at one threshold, (rows, columns) each.

    Attributes:
        gap: True in a gap; never where `known` is False.
        known: The raster has data.
        height: Canopy height, meters, NaN where not known; None where there are no heights at all.
    """

    gap: Flags
    known: Flags
    height: Heights | None


@define(eq=False)
class LayerBand:
    """One band of a file, opened.

    Attributes:
        nodata: Value without data; None: there is none, whatever the file declares.
    """

    source: ValueBand
    nodata: float | None
    unit: HeightUnit = field(factory=HeightUnit)

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def number(self) -> int:
        return self.source.number

    def read(self, row: int, rows: int, column: int = 0, columns: int | None = None) -> tuple[NDArray[Any], Flags]:
        """Values as they are in the file, and where they mean something; rows from north to south."""
        self.source.nodata = self.nodata
        return self.source.read(row, column, rows, self.source.dataset.width - column if columns is None else columns)

    @property
    def whole_numbers(self) -> bool:
        return self.source.dtype.kind in "iub"

    @property
    def description(self) -> str:
        return self.source.description

    def heights(self, row: int, rows: int) -> tuple[Heights, Flags]:
        """Meters, NaN where not known."""
        values, known = self.read(row, rows)
        with np.errstate(over="ignore"):
            meters: Heights = convert_values(values, self.source, self.unit.meters)
            meters = meters.astype(np.float64 if values.dtype == np.float64 else np.float32)
        meters[~known] = np.nan
        absurd = (meters < MIN_HEIGHT_M) | (meters > MAX_HEIGHT_M)
        if absurd.any():
            y, x = (int(place[0]) for place in np.nonzero(absurd))
            stored = str(values[y, x]).removesuffix(".0")
            said = f"{self.path}: holds {stored} in row {row + y}, column {x}, no canopy height in meters"
            if len(np.unique(values[absurd])) > MAX_SENTINELS:
                raise DataError(f"{said}; if these are heights in another unit, add --scale FACTOR, the meters in one unit")
            raise DataError(f"{said}; if it means no data, say so with --nodata={stored}")
        return meters, known

    def sample(self) -> set[float]:
        """Values that mean something, in some windows spread over the raster."""
        height, width = self.source.dataset.height, self.source.dataset.width
        deep, wide = self.source.block_shape
        rows, columns = min(deep, 512, height), min(wide, 512, width)
        found: set[float] = set()
        for look in range(SAMPLE_WINDOWS):
            row, column = (
                (height - rows) * look // (SAMPLE_WINDOWS - 1),
                (width - columns) * (look * 7 % SAMPLE_WINDOWS) // (SAMPLE_WINDOWS - 1),
            )
            values, known = self.read(row, rows, column, columns)
            found.update(np.unique(values[known]).tolist()[:1000])
        return found


@define(eq=False)
class Layer:
    """The gaps of a raster at one threshold, before they are labeled.

    Attributes:
        threshold_m: Meters; NaN where a map does not tell.
        at_most: Whether heights equal to the threshold are gap.
        name: For people and files: "5 m", "gap", a band's description.
        notes: What the input checks noted on the raster.
    """

    grid: Grid
    threshold_m: float
    at_most: bool
    name: str
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def pixels(self, row: int, rows: int) -> Pixels:
        """From row `row` on, so many rows."""
        raise NotImplementedError

    def gap(self, row: int, rows: int) -> Flags:
        return self.pixels(row, rows).gap


@define(eq=False)
class HeightLayer(Layer):
    """Gaps are where canopy is low."""

    band: LayerBand = field(kw_only=True)

    def pixels(self, row: int, rows: int) -> Pixels:
        height, known = self.band.heights(row, rows)
        threshold = height.dtype.type(self.threshold_m)  # as heights are: 0.1 in a file is the nearest float32
        gap = height <= threshold if self.at_most else height < threshold
        return Pixels(gap, known, height)


@define(eq=False)
class MapLayer(Layer):
    """Gaps are where a map has 1."""

    band: LayerBand = field(kw_only=True)
    heights: LayerBand | None = field(kw_only=True)

    def pixels(self, row: int, rows: int) -> Pixels:
        values, known = self.band.read(row, rows)
        if self.band.nodata is None and values.dtype.kind != "f":
            known &= values != MAP_NODATA
        gap = (values == 1) & known
        odd = known & ~gap & (values != 0)
        if odd.any():
            y, x = (int(place[0]) for place in np.nonzero(odd))
            raise DataError(
                f"{self.band.path}: holds {values[y, x]} in row {row + y}, column {x}; a gap map has 1 in gaps, 0 elsewhere and "
                f"{MAP_NODATA} or its nodata value without data. For heights give thresholds: -t 5"
            )
        return Pixels(gap, known, None if self.heights is None else self.heights.heights(row, rows)[0])


@define(eq=False)
class CroppedLayer(Layer):
    """A part of a layer.

    Attributes:
        whole: The layer it is cut from.
        row, column: Where in it the part begins.
    """

    whole: Layer = field(kw_only=True)
    row: int = field(kw_only=True)
    column: int = field(kw_only=True)

    def pixels(self, row: int, rows: int) -> Pixels:
        found = self.whole.pixels(self.row + row, rows)
        part = slice(self.column, self.column + self.grid.columns)
        return Pixels(found.gap[:, part], found.known[:, part], None if found.height is None else found.height[:, part])


@frozen(kw_only=True)
class ReadingOptions:
    """How a raster is to be read.

    Attributes:
        thresholds: Meters; for heights at least one, for a map those of its bands that are wanted, all if none are named.
        at_most: Heights equal to a threshold are gap too.
        band: The band to read; None: the only one of heights, all of a gap map.
        chm: Heights that go with a gap map.
        chm_band: The band of `chm` to read; None: its only band of values.
        pixel_size_m: Pixel size of a raster without CRS.
        nodata: Value that means no data, where the file does not say so.
        feet, scale: The unit of heights, as the user states it; see `forestgaps_geo.bands.height_units.resolve_height_unit`.
        skip_checks: Use heights that fail the input checks.
    """

    thresholds: Sequence[float] = ()
    at_most: bool = False
    band: int | None = None
    chm: Path | None = None
    chm_band: int | None = None
    pixel_size_m: float | None = None
    nodata: float | None = None
    feet: bool = False
    scale: float | None = None
    skip_checks: bool = False


@contextmanager
def open_layers(path: Path, how: ReadingOptions) -> Iterator[tuple[Layer, ...]]:
    """The gaps of a raster, a layer per threshold.

    Args:
        path: A CHM (heights, meters) or a gap map (0, 1 and 255 or nodata; a band per threshold).

    Raises:
        DataError: It is neither, or its pixels cannot be measured in meters.
    """
    for level in how.thresholds:
        if not isfinite(level):
            raise DataError(f"a threshold of {level} m was given; thresholds are heights in meters, such as -t 5")
    if fault := explain_indistinct_heights(how.thresholds):
        raise DataError(fault)
    with ExitStack() as stack:
        stack.enter_context(configure_gdal())
        dataset = stack.enter_context(open_raster(path))
        with convert_gdal_errors(path, "has a damaged header"):
            grid = read_grid(path, dataset, how.pixel_size_m)
            bands = [open_band(path, dataset, number, how.nodata) for number in choose_bands(path, dataset, how.band)]
            a_map = is_gap_map(bands[0], how)
        if a_map:
            heights, notes = (None, ()) if how.chm is None else open_chm(stack, path, how, grid)
            found = make_map_layers(bands, grid, how, heights)
            notes = (*notes, *note_constant_map(bands[0]))
        else:
            if how.chm is not None:
                raise DataError(f"{path}: holds heights itself, so a --chm beside it would say them twice; leave --chm out")
            found, notes = make_height_layers(bands, grid, how)
        raster_grid = RasterGrid(grid.crs, grid.transform, grid.rows, grid.columns)
        notes = (*(finding.message for finding in check_grid(path, raster_grid)), *notes)
        for layer in found:
            layer.notes = notes
        yield found


def note_constant_map(band: LayerBand) -> tuple[str, ...]:
    """What to know of a gap map that holds one value only."""
    values = set() if parse_threshold(band.description) is not None else band.sample()
    if values == {0}:
        return (f"{band.path}: holds only 0, and is read as a gap map without gaps. If these are canopy heights, add -t",)
    if values == {1}:
        return (f"{band.path}: holds only 1, and is read as a gap map of gaps only. If these are canopy heights, add -t",)
    return ()


def choose_bands(path: Path, dataset: Any, band: int | None) -> list[int]:
    numbers = list_value_bands(path, dataset)
    return numbers if band is None else [require_band(path, dataset, band, numbers)]


def open_band(path: Path, dataset: Any, number: int, stated: float | None) -> LayerBand:
    source = make_value_band(path, dataset, number, stated)
    return LayerBand(source, source.nodata)


def is_gap_map(band: LayerBand, how: ReadingOptions) -> bool:
    """Whether a band tells gaps rather than heights: where it says so, or holds nothing but 0 and 1 and no threshold is given.

    Raises:
        DataError: It cannot be determined, or is neither.
    """
    if "probability" in band.description:
        raise DataError(f"{band.path}: holds probabilities of gaps; give the gap map beside it, gaps.tif")
    if band.source.dtype.name not in REAL_DTYPES:
        raise DataError(f"{band.path}: holds {band.source.dtype.name}; heights and gap maps are real numbers")
    if parse_threshold(band.description) is not None:
        return True
    if how.thresholds and how.chm is None:
        return False  # heights of 0 and 1 m are heights
    values = band.sample()
    if band.whole_numbers and values == {0, MAP_NODATA} and band.nodata is None:
        raise DataError(
            f"{band.path}: holds 0 and {MAP_NODATA} only, and it is not said which of them are gaps; a gap map has 1 in gaps, and "
            f"--nodata={MAP_NODATA} tells that {MAP_NODATA} is no data"
        )
    if not band.whole_numbers:
        return 1 in values and values <= {0, 1}
    return values <= ({0, 1, MAP_NODATA} if band.nodata is None else {0, 1})


def parse_threshold(description: str) -> float | None:
    """The threshold in "gap at 5 m"."""
    found = re.fullmatch(r"gap (?:at|below|up to) (-?[\d.]+(?:e-?\d+)?) m", description.strip())
    return float(found[1]) if found else None


def make_map_layers(bands: list[LayerBand], grid: Grid, how: ReadingOptions, heights: LayerBand | None) -> tuple[Layer, ...]:
    levels = [parse_threshold(band.description) for band in bands]
    for band in bands:
        if band.nodata == 0 and how.nodata is None:
            band.nodata = None  # what masks say whose 0 shall not be drawn: 0 is still no gap
    if how.thresholds:
        missing = [f"{t:g} m" for t in how.thresholds if t not in levels]
        if missing:
            known = ", ".join(f"{t:g} m" for t in levels if t is not None) or "no threshold is stated"
            raise DataError(
                f"{bands[0].path}: is a gap map, whose thresholds are fixed ({known}), and {', '.join(missing)} was asked; "
                "leave -t out to take it as it is, or give the CHM"
            )
        picked = [levels.index(t) for t in how.thresholds]
        bands, levels = [bands[i] for i in picked], [levels[i] for i in picked]
    found: list[Layer] = []
    for band, level in zip(bands, levels, strict=True):
        name = f"{level:g} m" if level is not None else band.description or (f"band {band.number}" if len(bands) > 1 else "map")
        found.append(MapLayer(grid, nan if level is None else level, how.at_most, name, band=band, heights=heights))
    return tuple(found)


def make_height_layers(bands: list[LayerBand], grid: Grid, how: ReadingOptions) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    path = bands[0].path
    if len(bands) != 1:
        numbers = [band.number for band in bands]
        raise DataError(
            f"{path}: has {len(bands)} bands of heights ({describe_bands(bands[0].source.dataset, numbers)}). Choose the canopy "
            f"height with --band N, such as --band {numbers[0]}"
        )
    if not how.thresholds:
        raise DataError(f"{path}: holds heights, not a gap map; say below which height canopy is gap, such as -t 5 -t 10")
    notes = check_heights(bands[0], grid, how)
    levels = sorted(set(map(float, how.thresholds)))
    return tuple(HeightLayer(grid, level, how.at_most, f"{level:g} m", band=bands[0]) for level in levels), notes


def check_heights(band: LayerBand, grid: Grid, how: ReadingOptions, *, is_reference: bool = False) -> tuple[str, ...]:
    """Return the notes of the input checks on a CHM; the band gets its unit.

    Raises:
        DataError: It does not look like canopy heights in meters.
    """
    band.unit = resolve_height_unit(band.path, band.source.dataset, band.number, feet=how.feet, scale=how.scale)
    raster_grid = RasterGrid(grid.crs, grid.transform, grid.rows, grid.columns)
    stated = how.feet or how.scale is not None
    band.source.nodata = band.nodata
    sampled = RasterBand(band.path, band.source, raster_grid, band.unit.meters, band.unit.declared, stated)
    return resolve_findings(check_raster(sampled, "chm", is_reference=is_reference), skip=how.skip_checks)


def open_chm(stack: ExitStack, gap_map: Path, how: ReadingOptions, grid: Grid) -> tuple[LayerBand, tuple[str, ...]]:
    """The heights that go with a gap map, and the notes on them."""
    path = how.chm
    assert path is not None
    dataset = stack.enter_context(open_raster(path))
    number = choose_band(path, dataset, how.chm_band, "a CHM", option="--chm-band")
    other = read_grid(path, dataset, how.pixel_size_m)
    band = open_band(path, dataset, number, how.nodata)
    if not is_same_grid(grid, other):
        require_overlap(gap_map, grid, path, other)
        line = format_align_command(band.source, grid.crs, grid.transform, grid.rows, grid.columns)
        raise DataError(f"{path}: lies on another grid than the gap map ({other}; there {grid}). Bring it to that grid: {line}")
    return band, check_heights(band, other, how, is_reference=True)
