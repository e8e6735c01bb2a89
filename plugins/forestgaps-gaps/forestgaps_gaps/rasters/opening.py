"""Open a CHM or a gap map as layers of gap pixels, one per threshold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import isfinite, nan
from pathlib import Path
from typing import Any

from attrs import frozen

from forestgaps_core.config.thresholds import explain_indistinct_heights
from forestgaps_core.errors import DataError
from forestgaps_gaps.rasters.bands import MAP_NODATA, LayerBand
from forestgaps_gaps.rasters.grid import is_same_grid, read_grid, require_overlap
from forestgaps_gaps.rasters.layers import HeightLayer, Layer, MapLayer
from forestgaps_geo.bands.band import Band as RasterBand
from forestgaps_geo.bands.band_selection import choose_band, describe_bands, list_value_bands, require_band
from forestgaps_geo.bands.georeference import format_align_command
from forestgaps_geo.bands.height_units import resolve_height_unit
from forestgaps_geo.bands.value_band import make_value_band
from forestgaps_geo.checks.input_checks import check_grid, check_raster, resolve_findings
from forestgaps_geo.files.gdal import configure_gdal, convert_gdal_errors
from forestgaps_geo.files.header_checks import REAL_DTYPES
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.grids.grid import Grid


@frozen(kw_only=True)
class ReadingOptions:
    """How to read a raster.

    Attributes:
        thresholds: Meters. Required for heights; for a gap map they select bands, by default all.
        at_most: Whether heights equal to a threshold are gap.
        band: Number of the band; by default the only band of heights, or all bands of a gap map.
        chm: Canopy heights on the grid of a gap map.
        chm_band: Number of the band of `chm`; by default its only band.
        pixel_size_m: Pixel size of a raster without CRS.
        nodata: Value of pixels without data, if the file does not declare it.
        feet, scale: Unit of the heights, as the user states it; see `forestgaps_geo.bands.height_units.resolve_height_unit`.
        skip_checks: Accept heights that fail the input checks.
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
def open_layers(path: Path, options: ReadingOptions) -> Iterator[tuple[Layer, ...]]:
    """Open a raster as one layer per threshold.

    Args:
        path: A CHM (heights in meters), or a gap map (1, 0 and 255 or nodata) with one band per threshold.

    Raises:
        DataError: The raster is neither, or its pixels cannot be measured in meters.
    """
    for level in options.thresholds:
        if not isfinite(level):
            raise DataError(f"the threshold {level} m is not a height. Give heights in meters, such as -t 5")
    if problem := explain_indistinct_heights(options.thresholds):
        raise DataError(problem)
    with ExitStack() as stack:
        stack.enter_context(configure_gdal())
        dataset = stack.enter_context(open_raster(path))
        with convert_gdal_errors(path, "has a damaged header"):
            grid = read_grid(path, dataset, options.pixel_size_m)
            numbers = list_value_bands(path, dataset)
            if options.band is not None:
                numbers = [require_band(path, dataset, options.band, numbers)]
            bands = [open_band(path, dataset, number, options.nodata) for number in numbers]
            is_map = is_gap_map(bands[0], options)
        if is_map:
            heights, notes = (None, ()) if options.chm is None else open_chm(stack, path, options, grid)
            layers = make_map_layers(bands, grid, options, heights)
            notes = (*notes, *note_constant_map(bands[0]))
        else:
            if options.chm is not None:
                raise DataError(f"{path}: contains heights, so a second raster of heights has no use. Omit --chm")
            layers, notes = make_height_layers(bands, grid, options)
        notes = (*(finding.message for finding in check_grid(path, grid)), *notes)
        for layer in layers:
            layer.notes = notes
        yield layers


def open_band(path: Path, dataset: Any, number: int, nodata: float | None) -> LayerBand:
    source = make_value_band(path, dataset, number, nodata)
    return LayerBand(source, source.nodata)


def is_gap_map(band: LayerBand, options: ReadingOptions) -> bool:
    """Return whether a band is of a gap map: its description says so, or it contains only 0 and 1 and no threshold is given.

    Raises:
        DataError: The band contains neither gaps nor heights, or it is unclear which.
    """
    if "probability" in band.description:
        raise DataError(f"{band.path}: contains probabilities. Give the gap map of the same folder, gaps.tif")
    if band.source.dtype.name not in REAL_DTYPES:
        raise DataError(f"{band.path}: contains {band.source.dtype.name} values. Give a raster of real numbers")
    if parse_threshold(band.description) is not None:
        return True
    if options.thresholds and options.chm is None:
        return False  # heights may be 0 and 1 m
    values = band.sample_values()
    if band.is_integer and values == {0, MAP_NODATA} and band.nodata is None:
        raise DataError(
            f"{band.path}: contains only 0 and {MAP_NODATA}, and it is unclear which value means gap. A gap map has 1 in gaps. If "
            f"{MAP_NODATA} means no data, add --nodata={MAP_NODATA}"
        )
    if not band.is_integer:
        return 1 in values and values <= {0, 1}
    return values <= ({0, 1, MAP_NODATA} if band.nodata is None else {0, 1})


def parse_threshold(description: str) -> float | None:
    """Return the threshold in a description such as "gap at 5 m"."""
    match = re.fullmatch(r"gap (?:at|below|up to) (-?[\d.]+(?:e-?\d+)?) m", description.strip())
    return float(match[1]) if match else None


def note_constant_map(band: LayerBand) -> tuple[str, ...]:
    """Return a note on a gap map that contains a single value."""
    values = set() if parse_threshold(band.description) is not None else band.sample_values()
    meanings = {0: "without gaps", 1: "with gaps only"}
    return tuple(
        f"{band.path}: contains only {value}, and is read as a gap map {meaning}. If these are canopy heights, add -t"
        for value, meaning in meanings.items()
        if values == {value}
    )


def make_map_layers(bands: list[LayerBand], grid: Grid, options: ReadingOptions, heights: LayerBand | None) -> tuple[Layer, ...]:
    thresholds = [parse_threshold(band.description) for band in bands]
    for band in bands:
        if band.nodata == 0 and options.nodata is None:
            band.nodata = None  # masks declare 0 as nodata so that it is not drawn, but 0 means canopy
    if options.thresholds:
        missing = [f"{t:g} m" for t in options.thresholds if t not in thresholds]
        if missing:
            known = ", ".join(f"{t:g} m" for t in thresholds if t is not None) or "unknown"
            raise DataError(
                f"{bands[0].path}: is a gap map with fixed thresholds ({known}), which do not include {', '.join(missing)}. Omit "
                "-t, "
                "or give the CHM"
            )
        selected = [thresholds.index(t) for t in options.thresholds]
        bands, thresholds = [bands[i] for i in selected], [thresholds[i] for i in selected]
    layers: list[Layer] = []
    for band, threshold in zip(bands, thresholds, strict=True):
        if threshold is None:
            name, threshold = band.description or (f"band {band.number}" if len(bands) > 1 else "map"), nan
        else:
            name = f"{threshold:g} m"
        layers.append(MapLayer(grid, threshold, options.at_most, name, band=band, heights=heights))
    return tuple(layers)


def make_height_layers(bands: list[LayerBand], grid: Grid, options: ReadingOptions) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Return a layer for each threshold, and the notes of the input checks."""
    path = bands[0].path
    if len(bands) != 1:
        numbers = [band.number for band in bands]
        raise DataError(
            f"{path}: has {len(bands)} bands of heights ({describe_bands(bands[0].source.dataset, numbers)}). Choose the canopy "
            f"height with --band N, such as --band {numbers[0]}"
        )
    if not options.thresholds:
        raise DataError(f"{path}: contains heights and is not a gap map. Add height thresholds, such as -t 5 -t 10")
    notes = check_heights(bands[0], grid, options)
    thresholds = sorted(set(map(float, options.thresholds)))
    return tuple(HeightLayer(grid, t, options.at_most, f"{t:g} m", band=bands[0]) for t in thresholds), notes


def open_chm(stack: ExitStack, gap_map: Path, options: ReadingOptions, grid: Grid) -> tuple[LayerBand, tuple[str, ...]]:
    """Return the band of `options.chm`, which must have the grid of the gap map, and the notes of the input checks."""
    path = options.chm
    assert path is not None
    dataset = stack.enter_context(open_raster(path))
    number = choose_band(path, dataset, options.chm_band, "a CHM", option="--chm-band")
    other = read_grid(path, dataset, options.pixel_size_m)
    band = open_band(path, dataset, number, options.nodata)
    if not is_same_grid(grid, other):
        require_overlap(gap_map, grid, path, other)
        command = format_align_command(band.source, grid.crs, grid.transform, grid.rows, grid.columns)
        raise DataError(f"{path}: has another grid ({other}) than the gap map ({grid}). Bring it to that grid: {command}")
    return band, check_heights(band, other, options, is_reference=True)


def check_heights(band: LayerBand, grid: Grid, options: ReadingOptions, *, is_reference: bool = False) -> tuple[str, ...]:
    """Set the unit of a band of a CHM; return the notes of the input checks.

    Raises:
        DataError: The values are not plausible canopy heights in meters.
    """
    band.unit = resolve_height_unit(band.path, band.source.dataset, band.number, feet=options.feet, scale=options.scale)
    stated = options.feet or options.scale is not None
    band.source.nodata = band.nodata
    raster = RasterBand(band.path, band.source, grid, band.unit.meters, band.unit.declared, stated)
    return resolve_findings(check_raster(raster, "chm", is_reference=is_reference), skip=options.skip_checks)
