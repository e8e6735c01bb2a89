"""Write GeoTIFFs, and read them again to check what was written.

GDAL does not always report that the disk did not take something: a file may lack blocks, or its directory, and closing it succeeds.
So what is written is remembered as checksums by window, and read once after the file is closed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from attrs import define, field
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from forestgaps_geo.bands.height_units import get_vertical_unit
from forestgaps_geo.files.local_paths import require_utf8_name
from forestgaps_geo.grids.crs import drop_vertical_crs

# Not the CRS: GeoTIFF stores some in other words, which GDAL does not always find equal.
CHECKED_PROPERTIES = (
    "driver",
    "width",
    "height",
    "count",
    "dtypes",
    "nodatavals",
    "transform",
    "descriptions",
    "units",
    "scales",
    "offsets",
)
Place = tuple[int, int, int, int]  # row, column, rows, columns


class IncompleteRasterError(OSError):
    """A file does not hold what was written to it, or GDAL could not write; the disk is full, or it failed."""


@contextmanager
def convert_write_errors(path: Path) -> Iterator[None]:
    """GDAL's errors in writing, some of no public class, as an `IncompleteRasterError`."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("rasterio"):
            raise IncompleteRasterError(f"{path.name}: {' '.join(str(error).split())[:300]}") from error
        raise


def choose_output_crs(crs: Any) -> CRS | None:
    """Return the CRS of a result: that of its source without the vertical part.

    Results are in meters, or no heights at all, whatever unit the heights of the source had. From the vertical part GDAL would take
    the unit of the bands.
    """
    parsed = None if crs is None else CRS.from_user_input(crs)
    return drop_vertical_crs(parsed) if parsed and get_vertical_unit(parsed) else parsed or None


@define(eq=False)
class WrittenPixels:
    """Checksums of what was written, by window and band.

    Windows of one raster do not overlap, and each is read as it was written.
    """

    sums: dict[Place, tuple[int, ...]] = field(factory=dict)

    def add(self, row: int, column: int, values: NDArray[Any]) -> None:
        """(bands, rows, columns) at this place."""
        self.sums[row, column, *values.shape[1:]] = compute_checksums(values)

    def verify(self, path: Path, about: Mapping[str, Any]) -> None:
        """
        Args:
            about: Properties of the dataset (`describe_dataset`).

        Raises:
            UnwrittenError: The file cannot be read, or does not hold what was written.
        """
        with convert_write_errors(path), rasterio.open(path) as file:
            found = {name: getattr(file, name) for name in CHECKED_PROPERTIES if name in about}
            if not all(is_equal(found[name], about[name]) for name in found):
                raise IncompleteRasterError(f"{path.name} does not hold what was written")
            for (row, column, rows, columns), sums in self.sums.items():
                if compute_checksums(file.read(window=Window(column, row, columns, rows))) != sums:
                    raise IncompleteRasterError(f"{path.name} does not hold what was written")


class NewRaster:
    """A GeoTIFF that is written in windows, and read once when it is closed.

    Args:
        path: Of a new file; whoever calls gives it its name when it is whole.
        profile: As for `rasterio.open`. The file gets the horizontal part of the CRS.
    """

    def __init__(self, path: Path, **profile: Any) -> None:
        require_utf8_name(path)
        self.path, self.pixels = path, WrittenPixels()
        with convert_write_errors(path):
            profile = {"driver": "GTiff", "BIGTIFF": "IF_SAFER", **profile, "crs": choose_output_crs(profile.get("crs"))}
            self.file = rasterio.open(path, "w", **profile)

    def write(self, values: NDArray[Any], row: int = 0, column: int = 0) -> None:
        """(bands, rows, columns), or one band without the first axis."""
        values = values[None] if values.ndim == 2 else values
        values = values.astype(self.file.dtypes[0], copy=False)
        with convert_write_errors(self.path):
            self.file.write(values, window=Window(column, row, values.shape[2], values.shape[1]))
        self.pixels.add(row, column, values)

    def close(self) -> None:
        """
        Raises:
            UnwrittenError: The file does not hold what was written.
        """
        about = describe_dataset(self.file)
        with convert_write_errors(self.path):
            self.file.close()
        self.pixels.verify(self.path, about)

    def __enter__(self) -> NewRaster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
            return
        with suppress(Exception):  # what it could not write is not wanted any more
            self.file.close()


def describe_dataset(file: Any) -> dict[str, Any]:
    return {name: getattr(file, name) for name in CHECKED_PROPERTIES}


def compute_checksums(values: NDArray[Any]) -> tuple[int, ...]:
    """The checksum of each band."""
    return tuple(zlib.crc32(np.ascontiguousarray(band).view(np.uint8).data) for band in values)


def is_equal(one: Any, other: Any) -> bool:
    """NaN, which stands for no data, equals itself here; georeferences may be rounded."""
    if isinstance(one, Affine):
        return bool(np.allclose(one, other, rtol=1e-12, atol=1e-9))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(is_equal(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other or (isinstance(one, float) and isinstance(other, float) and one != one and other != other))


PLAIN_BANDS: Mapping[str, str] = {"photometric": "MINISBLACK", "alpha": "NO"}
"""Creation options of the driver GTiff for bands that hold values, not colors. The driver COG takes them over from its source."""
