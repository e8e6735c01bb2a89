"""GDAL with safe settings and a limited cache; its errors become errors for the user."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning

from forestgaps_core.errors import DataError
from forestgaps_geo.files.virtual_rasters import (
    sanitize_text,
)

CACHE_BYTES = 128 * 2**20  # bytes of decoded blocks GDAL may keep; its default, 5 % of the machine's memory, grows with the machine


GDAL_SETTINGS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/vsicurl/none",  # should anything get past what is checked here
}


@contextmanager
def configure_gdal() -> Iterator[None]:
    """GDAL with a bounded cache. A missing georeference is reported with the grid, so its warning is not needed."""
    with rasterio.Env(**GDAL_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def convert_gdal_errors(path: Path, what: str) -> Iterator[None]:
    """What GDAL says of damage, some of it by errors of no public class, as a `DataError`.

    Args:
        what: What is done with the file, as in "cannot be read from row 7 on".
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError | UnicodeError) or type(error).__module__.startswith("rasterio"):
            raise DataError(f"{path}: {what}; the file is damaged ({describe_gdal_error(error)})") from error
        raise


def describe_gdal_error(error: BaseException) -> str:
    """The messages of GDAL, from the reason to what it kept from being done; rasterio's own error only refers to it."""
    messages = []
    cause: BaseException | None = error
    while cause is not None:
        if "See previous exception" not in str(cause):
            messages.append(sanitize_text(cause) or type(cause).__name__)
        cause = cause.__cause__
    return "; ".join(list(dict.fromkeys(reversed(messages)))[:3]) or type(error).__name__
