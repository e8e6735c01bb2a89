"""Many files seen as one raster.

The files of a folder or a list, on one grid, are laid into a GDAL virtual raster that exists as a text only: GDAL opens a file
when one of its pixels is read and keeps at most so many open (`GDAL_MAX_DATASET_POOL_SIZE`, 100 or more), and the text goes to
other processes as it is. Where files overlap, the first one named counts where it has data; between them there is no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio.shutil
from attrs import frozen
from rasterio import Affine
from rasterio.enums import Resampling

from forestgaps_core.config.plain_values import explain_unusable_path
from forestgaps_core.errors import DataError, shorten
from forestgaps_core.files.safe_opening import read_text
from forestgaps_geo.bands.band import Band, open_band
from forestgaps_geo.bands.value_band import ValueBand, make_value_band
from forestgaps_geo.files.local_paths import explain_missing_file
from forestgaps_geo.files.opening import open_vrt_text
from forestgaps_geo.grids.crs import describe_crs, is_same_crs
from forestgaps_geo.grids.grid import ALIGNMENT_TOLERANCE, Grid, apply_transform, explain_not_north_up, reproject_bounds
from forestgaps_rasters.sources.mosaic_vrt import format_mosaic_vrt, format_vrt_source
from forestgaps_rasters.sources.resampling import check_not_finer, measure_pixel_size, open_warped, refine_grid

RASTER_SUFFIXES = (".tif", ".tiff")
LIST_SUFFIXES = (".txt", ".lst")
MAX_LIST_BYTES = 2**24


@frozen
class RasterSource:
    """What can be opened as one raster, here or in another process.

    Attributes:
        place: What it is called.
        files: The files it is made of.
        text: The virtual raster; None for a single file, opened as it is.
        grid: Its grid, known beforehand for a virtual raster.
        unit_m: Meters in one unit of its values, likewise.
    """

    place: Path
    files: tuple[Path, ...]
    text: str | None = None
    grid: Grid | None = None
    unit_m: float = 1.0
    declared_unit: str = ""
    nodata: float | None = None
    pixel_size_m: float | None = None
    feet: bool = False
    band: int | None = None
    several_only: bool = False
    scale: float | None = None

    @contextmanager
    def open(self) -> Iterator[Band]:
        """
        Raises:
            DataError: It cannot be opened as a raster of one band in meters.
        """
        if self.text is None or self.grid is None:
            options: dict[str, Any] = {"nodata": self.nodata, "pixel_size_m": self.pixel_size_m, "feet": self.feet}
            options |= {"scale": self.scale, "band": self.band, "several_only": self.several_only}
            with open_band(self.files[0], **options) as band:
                yield band
            return
        with open_vrt_text(self.place, self.text, sum(path.stat().st_size for path in self.files)) as dataset:
            source = make_value_band(self.place, dataset, 1, np.nan, self.grid.transform)
            yield Band(self.place, source, self.grid, self.unit_m, self.declared_unit)


def list_rasters(places: Sequence[Path]) -> tuple[Path, ...]:
    """The files that places name: rasters themselves, folders of GeoTIFFs by name, lists line by line.

    Raises:
        DataError: There is none.
    """
    found: list[Path] = []
    for place in places:
        if wrong := explain_unusable_path(str(place)):
            raise DataError(f"{shorten(str(place))!r} {wrong}, so it is not a path. Give the path of a raster, a folder or a list")
        if place.is_dir():
            inside = sorted(
                path for path in place.iterdir() if path.suffix.lower() in RASTER_SUFFIXES and not path.name.startswith(".")
            )
            if not inside:
                raise DataError(f"{place}: a folder without GeoTIFFs ({', '.join(RASTER_SUFFIXES)}), and no run folder (run.toml)")
            found += inside
        elif place.suffix.lower() in LIST_SUFFIXES:
            found += read_raster_list(place)
        elif not place.exists():
            raise DataError(explain_missing_file(place, "no such file or folder"))
        else:
            found.append(place)
    if twice := [path for path, times in Counter(found).items() if times > 1]:
        raise DataError(f"{min(twice)}: is named more than once")
    return tuple(found)


def read_raster_list(path: Path) -> list[Path]:
    """The paths of a list, one a line; relative ones start at its folder, empty lines and those with # are left out."""
    try:
        lines = read_text(path, MAX_LIST_BYTES).splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a list of rasters ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as a list of rasters ({error})") from error
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            if wrong := explain_unusable_path(line):
                raise DataError(f"{path}, line {number}: {shorten(line)!r} {wrong}. Write the path of one raster on each line")
            found.append(path.parent / line)
    if not found:
        raise DataError(f"{path}: names no raster; a list has a path on each line")
    return found


def make_source(
    places: Sequence[Path],
    *,
    nodata: float | None = None,
    pixel_size_m: float | None = None,
    feet: bool = False,
    band: int | None = None,
    several_only: bool = False,
    scale: float | None = None,
    resample: bool = False,
    offer: str = "; --resample brings it there",
) -> RasterSource:
    """One raster of these files, folders and lists.

    Args:
        resample: Bring files that do not fit the grid of the first onto it, by the highest value of the pixels that fall together.
        offer: What is said of `resample` to those who did not ask for it.

    Raises:
        DataError: A file cannot be used, or does not fit and resampling was not asked.
    """
    files = list_rasters(places)
    options: dict[str, Any] = {"nodata": nodata, "pixel_size_m": pixel_size_m, "feet": feet, "scale": scale}
    options |= {"band": band, "several_only": several_only}
    if len(files) == 1:
        return RasterSource(files[0], files, **options)
    with open_band(files[0], **options) as one:
        first, unit_m, declared = one.grid, one.unit_m, one.declared_unit
        if fault := explain_not_north_up(first.transform):
            raise DataError(f"{files[0]}: {fault}, so no other file can be laid beside it")
    members: list[tuple[int, int, Grid, str]] = []
    for path in files:
        with open_band(path, **options) as one:
            if one.dataset.crs is None and one.dataset.transform == Affine.identity():
                raise DataError(f"{path}: does not say where it lies, so it cannot be laid beside others")
            if one.unit_m != unit_m:
                raise DataError(f"{path}: is in another unit of height than {files[0]}; convert one of them")
            members.append(fit_member(one, first, resample=resample, offer=offer))
    top, left = min(row for row, *_ in members), min(column for _, column, *_ in members)
    bottom = max(row + grid.rows for row, _, grid, _ in members)
    right = max(column + grid.columns for _, column, grid, _ in members)
    whole = first.window(top, left, bottom - top, right - left)
    place = places[0] if len(places) == 1 else Path(f"{files[0]} and {len(files) - 1} more")
    placed = [text.format(row=row - top, column=column - left) for row, column, _, text in members]
    return RasterSource(place, files, format_mosaic_vrt(whole, placed), whole, unit_m, declared, **options)


@contextmanager
def open_source(place: Path, **options: Any) -> Iterator[Band]:
    """A file, a folder of files on one grid, or a list of them, as one raster; options are those of `open_band`."""
    with make_source([place], **options, offer="").open() as band:
        yield band


def fit_member(band: Band, first: Grid, *, resample: bool, offer: str) -> tuple[int, int, Grid, str]:
    """Row and column of a file on the first one's grid, its own grid there, and its part of the virtual raster."""
    where = find_offset(band.grid, first)
    if where is not None:
        nodata = band.source.gdal_nodata
        return (
            *where,
            band.grid,
            format_vrt_source(band.source.gdal_source, band.grid, None if nodata is None else repr(float(nodata)), band),
        )
    if not resample:
        raise DataError(f"{band.path}: {explain_misfit(band.grid, first)}{offer}")
    window = cover_grid(band.grid, first)
    size = measure_pixel_size(band.grid, window)
    check_not_finer(band, size, first.resolution)
    row, column = find_offset(window, first) or (0, 0)
    return (
        row,
        column,
        window,
        format_vrt_source(make_warped_vrt(band, window, max(round(first.resolution / size), 1)), window, "nan", None),
    )


def find_offset(grid: Grid, first: Grid) -> tuple[int, int] | None:
    """Row and column of a grid's corner on the first one's; None where its pixels are not the same."""
    if not is_same_crs(grid.crs, first.crs) or explain_not_north_up(grid.transform):
        return None
    inverse = ~first.transform
    (x, y), (far_x, far_y) = (
        apply_transform(inverse, *apply_transform(grid.transform, *corner)) for corner in ((0, 0), (grid.columns, grid.rows))
    )
    column, row = round(x), round(y)
    off = max(abs(x - column), abs(y - row), abs(far_x - column - grid.columns), abs(far_y - row - grid.rows))
    return (row, column) if off < ALIGNMENT_TOLERANCE else None


def explain_misfit(grid: Grid, first: Grid) -> str:
    if not is_same_crs(grid.crs, first.crs):
        return f"is in {describe_crs(grid.crs)}, the first file in {describe_crs(first.crs)}"
    if fault := explain_not_north_up(grid.transform):
        return fault
    if abs(grid.nominal_resolution / first.nominal_resolution - 1) > 1e-4:
        return f"has pixels of {grid.resolution:g} m, the first file of {first.resolution:g} m"
    return "its pixels do not lie on the grid of the first file"


def cover_grid(grid: Grid, first: Grid) -> Grid:
    """The pixels of the first one's grid, continued, that a raster of another grid touches."""
    left, bottom, right, top = grid.bounds
    if not is_same_crs(grid.crs, first.crs):
        if grid.crs is None or first.crs is None:
            raise DataError(f"a file in {describe_crs(grid.crs)} cannot be brought to {describe_crs(first.crs)}")
        left, bottom, right, top = reproject_bounds(grid, first.crs)
    inverse = ~first.transform
    (x, y), (far_x, far_y) = apply_transform(inverse, left, top), apply_transform(inverse, right, bottom)
    row, column = floor(y + ALIGNMENT_TOLERANCE), floor(x + ALIGNMENT_TOLERANCE)
    return first.window(row, column, ceil(far_y - ALIGNMENT_TOLERANCE) - row, ceil(far_x - ALIGNMENT_TOLERANCE) - column)


def make_warped_vrt(band: Band, window: Grid, k: int) -> str:
    """The file on another grid, as the text of a virtual raster of its own: the highest of k x k nearest pixels, as in `onto`."""
    text = format_warped_vrt(band, refine_grid(window, k), Resampling.nearest)
    if k == 1:
        return text
    with open_vrt_text(band.path, text, band.path.stat().st_size) as dataset:
        fine = refine_grid(window, k)
        nearest = ValueBand(band.path, dataset, 1, np.nan, transform=fine.transform)
        return format_warped_vrt(Band(band.path, nearest, fine), window, Resampling.max)


def format_warped_vrt(band: Band, window: Grid, resampling: Resampling) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "warped.vrt"
        with open_warped(band, window, resampling, tolerance=1e-6) as view:
            rasterio.shutil.copy(view, path, driver="VRT")
        return path.read_text(encoding="utf-8")
