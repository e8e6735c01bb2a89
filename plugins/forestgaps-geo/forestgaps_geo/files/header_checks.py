"""Compare the header of a raster with limits and with the size of the file."""

from __future__ import annotations

from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from attrs import frozen

from forestgaps_core.errors import DataError
from forestgaps_geo.files.gdal import describe_gdal_error
from forestgaps_geo.files.gdal_commands import format_translate_command
from forestgaps_geo.files.virtual_rasters import (
    MAX_BANDS,
)

MAX_SIDE_PIXELS = 2**22  # pixels; wider than any survey, as a row is read at once


FREE_PIXELS = 10**8  # pixels anybody may declare; reading so many empty ones takes seconds


MAX_PIXELS_PER_BYTE = 10_000  # pixels that a byte of a file may stand for beyond that; an empty COG has about as many


MAX_BLOCK_BYTES = 2**29  # bytes of a block, which is decoded whole


MAX_COORDINATE, MIN_PIXEL_SIZE = 1e9, 1e-9  # units of a CRS; no place on Earth is farther from its origin, and no pixel smaller


HEADER_ATTRIBUTES = (
    *("crs", "dtypes", "nodatavals", "scales", "offsets", "units", "descriptions", "colorinterp", "block_shapes"),
    "mask_flag_enums",
)


@frozen
class CheckedSource:
    """What GDAL opens.

    Attributes:
        name: The absolute path of a GeoTIFF, or the text of a VRT with everything in it checked.
        size: Bytes of the GeoTIFF, or of all that the VRT names.
        nested: The VRTs that a VRT names, at any depth, with their states, as their text is part of its own.
    """

    name: str
    size: int
    nested: tuple[tuple[Path, tuple[int, ...]], ...] = ()

    @property
    def driver(self) -> str:
        return "VRT" if self.name.startswith("<") else "GTiff"


def open_checked(path: Path, named: CheckedSource) -> Any:
    """Open what was checked; what its header says is read, so that damage there shows here, and compared with bounds."""
    try:
        dataset = rasterio.open(named.name, driver=named.driver)
    except Exception as error:  # of a damaged header rasterio raises whatever its conversions do
        raise DataError(f"{path}: is not a readable raster ({describe_gdal_error(error)})") from error
    elsewhere = False
    try:
        if not (fault := check_size(path, dataset, named.size) or check_transform(dataset)):
            for about in HEADER_ATTRIBUTES:
                getattr(dataset, about)
            if dataset.crs:
                dataset.crs.to_dict(projjson=True)
            elsewhere = "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS")
    except Exception as error:
        dataset.close()
        raise DataError(f"{path}: has a damaged header ({describe_gdal_error(error)})") from error
    if elsewhere:
        fault = f"names a file of its overviews, which is not read on its word; make a new one of it: {format_plain_command(path)}"
    if fault:
        dataset.close()
        raise DataError(f"{path}: {fault}")
    return dataset


def check_size(path: Path, dataset: Any, size: int) -> str:
    """What is wrong with the size a raster declares, '' if nothing is."""
    rows, columns, bands = dataset.height, dataset.width, dataset.count
    if not 1 <= bands <= MAX_BANDS:
        return f"has {bands} bands; at least one and at most {MAX_BANDS} are read"
    if max(rows, columns) > MAX_SIDE_PIXELS:
        return f"says it has {columns} x {rows} pixels; no side may have more than {MAX_SIDE_PIXELS}, so cut it into several"
    if rows * columns > max(FREE_PIXELS, MAX_PIXELS_PER_BYTE * size):
        return f"says it has {columns} x {rows} pixels, more than {size:,} bytes can hold; it is damaged, or nearly empty"
    interleaved = bands > 1 and dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    for (tall, wide), kind in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        block = tall * wide * (np.dtype(kind).itemsize if kind in REAL_DTYPES else 16) * (bands if interleaved else 1)
        if block > MAX_BLOCK_BYTES:
            rewrite = format_translate_command(path, "tiled", "-co", "TILED=YES")
            return f"is stored in blocks of {wide} x {tall} pixels, {block:,} bytes each; rewrite it in tiles: {rewrite}"
    return ""


def check_transform(dataset: Any) -> str:
    """What is wrong with where a raster lies, '' if nothing is."""
    numbers = tuple(dataset.transform)[:6]
    if not all(abs(value) <= MAX_COORDINATE for value in numbers):
        return f"lies nowhere: its transform is {', '.join(f'{value:g}' for value in numbers)}; give it a georeference anew"
    a, b, _, d, e, _ = numbers
    if not all(hypot(*side) > MIN_PIXEL_SIZE for side in ((a, d), (b, e))) or abs(a * e - b * d) < MIN_PIXEL_SIZE * hypot(
        a, d
    ) * hypot(b, e):
        return f"has pixels of no area, {hypot(a, d):g} x {hypot(b, e):g}; give it a georeference anew"
    return ""


REAL_DTYPES = (*(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64")


def format_plain_command(path: Path) -> str:
    return format_translate_command(path, "plain")
