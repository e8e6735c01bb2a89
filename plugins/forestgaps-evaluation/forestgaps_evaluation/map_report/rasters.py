"""The rasters of a gap map: their counts pixel by pixel, and their overview on a smaller grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.pages.pictures import hillshade
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2, count_min_pixels
from forestgaps_geo.gap_labeling import GapScan
from forestgaps_geo.grids.windows import STRIP_PIXELS, iterate_strips

if TYPE_CHECKING:
    from rasterio import DatasetReader

FILES = ("gaps.tif", "probabilities.tif")
NODATA = 255
OVERVIEW_PIXELS = 1100  # longer side of the map of the whole area, in pixels
NO_RASTERIO = 'a report on maps requires rasterio, which is not installed. Run: pip install "forestgaps-evaluation[maps]"'
UNCERTAIN_RANGE = (0.25, 0.75)  # probabilities in this range are called uncertain


def is_map_folder(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)


@contextmanager
def open_raster(path: Path) -> Iterator[DatasetReader]:
    """Open a raster for reading; the error names the missing package or file."""
    try:
        from forestgaps_geo.files.opening import open_raster
    except ImportError as error:
        raise DataError(NO_RASTERIO) from error
    with open_raster(path) as dataset:
        yield dataset


def read_thresholds(gaps: DatasetReader) -> tuple[float, ...]:
    """Return the height thresholds in meters, from the descriptions of the bands."""
    matches = [re.search(r"at (\d+(?:\.\d+)?) m", description or "") for description in gaps.descriptions]
    if not all(matches):
        raise DataError(
            f"{gaps.name}: the descriptions of its bands do not contain thresholds such as 'gap at 5 m'. Give a map that "
            "`forestgaps predict` wrote"
        )
    return tuple(float(match[1]) for match in matches if match)


def choose_main_threshold(levels: Sequence[float]) -> float:
    """Return the threshold nearest to 5 m; pictures of a single threshold show it."""
    return min(levels, key=lambda level: abs(level - 5))


@frozen(eq=False)
class MapCounts:
    """The counts of a map.

    Attributes:
        levels: Height thresholds, in meters.
        pixels: Number of pixels with data.
        gap: Number of gap pixels, including the smallest gaps, (K,).
        uncertain: Number of pixels with a probability in `UNCERTAIN_RANGE`, (K,).
        sizes: Sizes of the gaps of at least `MIN_MAPPED_GAP_M2` at each threshold, as in `forestgaps gaps`.
        tags: Metadata tags of the raster.
    """

    levels: tuple[float, ...]
    pixels: int
    gap: NDArray[np.int64]
    uncertain: NDArray[np.int64]
    sizes: tuple[GapSizes, ...]
    tags: Mapping[str, str]


def count_map(gaps: DatasetReader, probabilities: DatasetReader, levels: tuple[float, ...]) -> MapCounts:
    """Return the counts, read in strips: memory grows with the width of the raster and the number of its gaps."""
    unit = probabilities.scales[0] or 1.0
    low, high = ceil(UNCERTAIN_RANGE[0] / unit - 1e-6), floor(UNCERTAIN_RANGE[1] / unit + 1e-6)
    pixels, gap, uncertain = 0, np.zeros(len(levels), np.int64), np.zeros(len(levels), np.int64)
    scans = [GapScan(gaps.width) for _ in levels]
    for strip in iterate_strips(gaps.height, gaps.width, STRIP_PIXELS // len(levels)):
        masks, probability = gaps.read(window=strip.slices), probabilities.read(window=strip.slices)
        pixels += int((masks[0] != NODATA).sum())
        gap += (masks == 1).sum((1, 2))
        uncertain += ((probability >= low) & (probability <= high)).sum((1, 2))
        for scan, mask in zip(scans, masks, strict=True):
            scan.add(mask == 1)
    resolution = get_pixel_size_m(gaps)
    least = count_min_pixels(MIN_MAPPED_GAP_M2, resolution**2)
    sizes = tuple(GapSizes.from_pixels(scan.join().pixels, resolution, least=least) for scan in scans)
    return MapCounts(
        levels, pixels, gap, uncertain, sizes, {key: value for key, value in gaps.tags().items() if key != "AREA_OR_POINT"}
    )


def read_overview(
    gaps: DatasetReader,
    probabilities: DatasetReader,
    surfaces: Sequence[Path],
    threshold: float,
    reading: Mapping[str, Any] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32], float]:
    """Read relief, gaps and probabilities of the whole map on a grid of at most `OVERVIEW_PIXELS` pixels.

    Returns:
        Hillshade; gap masks, (K, rows, columns); probability at the threshold; width of an overview pixel, in pixels of the map.

    Raises:
        DataError: No surface model has data in the area of the map.
    """
    from rasterio.enums import Resampling

    factor = max(gaps.width, gaps.height) / OVERVIEW_PIXELS
    factor = factor if factor > 1 else 1.0
    rows, columns = max(round(gaps.height / factor), 1), max(round(gaps.width / factor), 1)
    masks = gaps.read(out_shape=(gaps.count, rows, columns), resampling=Resampling.mode if factor > 1 else Resampling.nearest)
    number = read_thresholds(gaps).index(threshold) + 1
    stored = probabilities.read(number, out_shape=(rows, columns), resampling=Resampling.nearest)
    probability = np.where(stored == NODATA, np.nan, stored * (probabilities.scales[0] or 1.0)).astype(np.float32)
    transform = place_part(gaps.transform, across=gaps.width / columns, down=gaps.height / rows)
    surface = read_surfaces(surfaces, gaps, transform, rows, columns, reading)
    if not np.isfinite(surface).any():
        raise DataError(
            f"{', '.join(map(str, surfaces))}: has no data in the area of {gaps.name}. Give the surface model that was mapped"
        )
    return hillshade(surface, float(transform.a)), masks, probability, factor


def get_pixel_size_m(dataset: DatasetReader) -> float:
    """Return the side of a pixel in meters on the ground."""
    from forestgaps_geo.grids.grid import Grid

    return Grid(dataset.crs or None, dataset.transform, dataset.height, dataset.width).resolution


def place_part(transform: Any, *, across: float = 1.0, down: float = 1.0, row: float = 0, column: float = 0) -> Any:
    """Return the transform of a part of a raster that is not rotated.

    Computed here, because versions of affine differ in the operator of the product of two transforms.

    Args:
        across: Factor of the pixel width.
        down: Factor of the pixel height.
        row: First row of the part.
        column: First column of the part.
    """
    x, y = transform.c + column * transform.a, transform.f + row * transform.e
    return type(transform)(transform.a * across, 0.0, x, 0.0, transform.e * down, y)


def read_surfaces(
    surfaces: Sequence[Path],
    gaps: DatasetReader,
    transform: Any,
    rows: int,
    columns: int,
    reading: Mapping[str, Any] | None = None,
) -> NDArray[np.float32]:
    """Read the surface models on one grid: meters, (rows, columns), NaN where none has data.

    Args:
        reading: Options for reading them (band, nodata, feet, scale), as in `forestgaps_geo.bands.band.open_band`.
    """
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    whole = np.full((rows, columns), np.nan, np.float32)
    for path in surfaces:
        with open_raster(path) as dataset, open_surface(path, dataset, **(reading or {})) as surface:
            crs: Any = dataset.crs or gaps.crs or "EPSG:3857"  # a raster without CRS has the grid of the map
            more = {}
            if dataset.crs is None and gaps.crs is None and abs(dataset.transform.c) + abs(dataset.transform.f) == 0:
                # A raster without georeferencing covers the area of the map.
                more["src_transform"] = place_part(
                    gaps.transform, across=gaps.width / dataset.width, down=gaps.height / dataset.height
                )
            grid = {"crs": gaps.crs or crs, "transform": transform, "width": columns, "height": rows}
            values = {"src_nodata": surface.nodata, "nodata": np.nan, "dtype": "float32"}
            with WarpedVRT(surface.view, src_crs=crs, **grid, **values, resampling=Resampling.nearest, **more) as view:
                here = view.read(1) * np.float32(surface.factor) + np.float32(surface.offset)
        whole = np.where(np.isfinite(whole), whole, here)
    return whole


@frozen(eq=False)
class SurfaceView:
    """A surface model as GDAL reads it.

    Attributes:
        nodata: Value of pixels without data, including masked pixels.
        factor, offset: Height in meters is value * factor + offset.
    """

    view: DatasetReader
    nodata: float
    factor: float
    offset: float


@contextmanager
def open_surface(
    path: Path,
    dataset: DatasetReader,
    *,
    band: int | None = None,
    nodata: float | None = None,
    feet: bool = False,
    scale: float | None = None,
) -> Iterator[SurfaceView]:
    """Open a surface model with the given reading options."""
    from forestgaps_geo.bands.band_selection import choose_band
    from forestgaps_geo.bands.height_units import resolve_height_unit
    from forestgaps_geo.bands.value_band import make_value_band
    from forestgaps_geo.files.opening import open_vrt_text

    source = make_value_band(path, dataset, choose_band(path, dataset, band, "a surface model"), nodata)
    unit_m = resolve_height_unit(path, dataset, source.number, feet=feet, scale=scale).meters
    value = np.nan if source.gdal_nodata is None else source.gdal_nodata
    factor, offset = source.scale * unit_m, source.offset * unit_m
    if source.gdal_source == dataset.name:
        yield SurfaceView(dataset, value, factor, offset)
        return
    with open_vrt_text(path, source.gdal_source, dataset.width * dataset.height) as view:
        yield SurfaceView(view, value, factor, offset)


def check_surfaces(
    surfaces: Sequence[Path], reading: Mapping[str, Any] | None = None, *, skip_checks: bool = False
) -> tuple[str, ...]:
    """Return the notes of the input checks on the surface models of a map.

    Raises:
        DataError: A surface model does not look like elevations in meters.
    """
    try:
        from forestgaps_geo.bands.band import open_band_anywhere
        from forestgaps_geo.checks.input_checks import check_raster, resolve_findings
    except ImportError as error:
        raise DataError(NO_RASTERIO) from error
    findings = []
    for path in surfaces:
        with open_band_anywhere(path, **(reading or {})) as band:
            findings += check_raster(band, "dsm")
    return resolve_findings(findings, skip=skip_checks)
