"""What a reader of files is and returns, and how its pixels become a GeoTIFF that the program opens by its usual rules.

A reader returns pixels, not a file for GDAL. So a file of any format reaches GDAL only as a GeoTIFF that was written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.writing import NewRaster
from forestgaps_geo.files.header_checks import MAX_SIDE_PIXELS, check_transform


@frozen(kw_only=True, eq=False)
class ReadRaster:
    """A raster of elevations or heights that a reader found in a file.

    Attributes:
        transform: a, b, c, d, e, f, such that x = a * column + b * row + c and y = d * column + e * row + f, at pixel corners.
        crs: A code such as EPSG:32632, or WKT; '' for none.
        strips: (n, columns) each, from the first row on; NaN where there is no data.
        unit: Of the values, as GDAL writes it: metre, foot, US survey foot, ...
    """

    rows: int = field(validator=and_(instance_of(int), ge(1), le(MAX_SIDE_PIXELS)))
    columns: int = field(validator=and_(instance_of(int), ge(1), le(MAX_SIDE_PIXELS)))
    transform: tuple[float, float, float, float, float, float]
    crs: str
    strips: Iterable[NDArray[Any]] = field(repr=False)
    unit: str = "metre"


class Reader(Protocol):
    """Reads files: what `build` of a component of the kind `reader` returns.

    Attributes:
        suffixes: Of its files, such as `.npy`, in lower case. In a folder without GeoTIFFs, files with these suffixes are read.
    """

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def claims(self, path: Path, start: bytes) -> bool:
        """Return whether it reads this file.

        Args:
            start: Its first bytes, at most 4,096.
        """

    def read(self, path: Path) -> ReadRaster | Path:
        """Return the pixels; or the path itself if it is a GeoTIFF or VRT, which GDAL opens.

        Raises:
            DataError: The file cannot be read.
        """


def write_read_raster(raster: ReadRaster, path: Path, place: Path) -> None:
    """Write the pixels into a new GeoTIFF.

    Args:
        place: The file they were read from, for messages.

    Raises:
        DataError: The reader returned something that is not a raster.
    """
    try:
        crs = CRS.from_user_input(raster.crs) if raster.crs else None
        transform = Affine(*map(float, raster.transform))
    except (ValueError, TypeError) as error:  # errors of rasterio's CRS are among them
        raise DataError(f"{place}: its reader returned a wrong CRS or transform ({error})") from error
    if fault := check_transform(SimpleNamespace(transform=transform)):
        raise DataError(f"{place}: {fault}")
    profile: dict[str, Any] = {"count": 1, "dtype": "float32", "nodata": np.nan, "crs": crs, "transform": transform}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256} if min(raster.rows, raster.columns) >= 256 else {}
    row = 0
    with NewRaster(path, width=raster.columns, height=raster.rows, **profile, **tiles) as file:
        file.file.units = (raster.unit,)
        for strip in raster.strips:
            values = np.asarray(strip)
            if values.ndim != 2 or values.shape[1] != raster.columns or values.dtype.kind not in "fiu":
                raise DataError(
                    f"{place}: its reader returned a strip of {values.dtype} {values.shape}, expected numbers (n, {raster.columns})"
                )
            if row + len(values) > raster.rows:
                raise DataError(f"{place}: its reader returned more than {raster.rows} rows")
            if len(values):
                file.write(values.astype(np.float32), row)
            row += len(values)
        if row != raster.rows:
            raise DataError(f"{place}: its reader returned {row} rows, expected {raster.rows}")
