"""Rasters of further input layers, such as orthophotos, on the grid of a DSM.

A layer has all bands of its file but alpha, as float32 numbers as the file states them (with scale and offset, without units).
Pixels of the same grid are taken as they are. Where several pixels of the layer make one of the DSM, it has their mean; otherwise
values are interpolated (bilinear). A pixel has no data where alpha, mask, nodata or NaN say so, and outside the raster; all its
channels are then 0. Such pixels of the DSM stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from attrs import frozen
from rasterio.enums import ColorInterp

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import Band, FloatArray
from forestgaps_geo.bands.band_selection import list_value_bands
from forestgaps_geo.bands.georeference import format_align_command, resolve_transform
from forestgaps_geo.bands.value_band import make_value_band
from forestgaps_geo.files.header_checks import REAL_DTYPES
from forestgaps_geo.files.local_paths import explain_missing_file
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.grids.crs import describe_crs, is_same_crs
from forestgaps_geo.grids.grid import Grid, crop_to_overlap
from forestgaps_rasters.prepared.layers import MAX_CHANNELS
from forestgaps_rasters.sources.resampling import resample_band

TOLERANCE = 1e-6  # pixels: what is read does not depend on the window that is read

ReadChannels: TypeAlias = Callable[[int, int, int, int], FloatArray]
"""(row, column, rows, columns) to (channels, rows, columns), 0 without data."""


@frozen(eq=False)
class FurtherLayer:
    """A layer on the grid of a DSM.

    Attributes:
        notes: What a person should know of it.
    """

    path: Path
    channels: int
    window: ReadChannels
    notes: tuple[str, ...] = ()


def require_layer_file(name: str, path: Path) -> None:
    """
    Raises:
        DataError: There is no such file, or it is a folder.
    """
    if not path.exists():
        raise DataError(f"layer {name!r}: {explain_missing_file(path, 'no such file')}")
    if path.is_dir():
        raise DataError(
            f"layer {name!r}: {path} is a folder; name one GeoTIFF or VRT (gdalbuildvrt {name}.vrt {path}/*.tif makes one)"
        )


@contextmanager
def open_layer(name: str, path: Path, grid: Grid, *, pixel_size_m: float | None = None) -> Iterator[FurtherLayer]:
    """Open a layer on a grid.

    Args:
        pixel_size_m: Pixel size of a layer without CRS.

    Raises:
        DataError: It cannot be read, has another CRS, or does not overlap the grid.
    """
    where = f"layer {name!r}"
    require_layer_file(name, path)
    with open_raster(path) as dataset, ExitStack() as stack:
        numbers = list_value_bands(path, dataset)
        if len(numbers) > MAX_CHANNELS:
            raise DataError(f"{where}: {path} has {len(numbers)} bands of values, at most {MAX_CHANNELS} are read")
        transform = resolve_transform(path, dataset, None if dataset.crs else pixel_size_m)
        bands = []
        for number in numbers:
            if (kind := dataset.dtypes[number - 1]) not in REAL_DTYPES:
                raise DataError(f"{where}: {path} holds {kind} in band {number}; give real numbers")
            if dataset.colorinterp[number - 1] == ColorInterp.palette:
                raise DataError(
                    f"{where}: {path} holds numbers of a color table in band {number}, not intensities; expand them "
                    "with gdal_translate -expand rgb"
                )
            source = make_value_band(path, dataset, number, None, transform)
            bands.append(Band(path, source, Grid(dataset.crs or None, source.transform, dataset.height, dataset.width)))
        own = bands[0].grid
        if not is_same_crs(own.crs, grid.crs):
            command = format_align_command(bands[0].source, grid.crs, grid.transform, grid.rows, grid.columns)
            remedy = f"; bring it there:\n  {command}" if own.crs and grid.crs else ", and one of them must be given the CRS it has"
            raise DataError(f"{where}: {path} is in {describe_crs(own.crs)}, the DSM in {describe_crs(grid.crs)}{remedy}")
        overlap = crop_to_overlap(grid, own)
        if overlap is None:
            raise DataError(f"{where}: {path} does not overlap the DSM: {own}; {grid}")
        resampled = [
            stack.enter_context(resample_band(band, grid, "interpolated", resample=True, tolerance=TOLERANCE)) for band in bands
        ]

        def read(row: int, column: int, rows: int, columns: int) -> FloatArray:
            planes = np.stack([one.window(row, column, rows, columns) for one in resampled])
            # Where one band has no data, none has: a mean of the others would be another color.
            planes[:, ~np.isfinite(planes).all(axis=0)] = 0.0
            return planes

        share = overlap.rows * overlap.columns / (grid.rows * grid.columns)
        notes = [f"{where}: {path} covers {share:.0%} of the DSM; elsewhere the layer has no data"] if share < 0.999 else []
        if not all(one.exact for one in resampled):
            notes.append(f"{where}: {path}: its pixels of {own.resolution:g} m are interpolated to those of the DSM")
        yield FurtherLayer(path, len(bands), read, tuple(notes))
