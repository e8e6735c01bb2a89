"""Open untrusted rasters safely.

A raster is a file from elsewhere, and GDAL believes what it says. A virtual raster (VRT) may name other files, addresses on the
network and Python code; a plain GeoTIFF may name the file of its overviews, on the network too, and so may files beside it; a
kilobyte may declare 10^18 pixels, or blocks of a terabyte. So:

- only GeoTIFF and VRT are read, by their first bytes, whatever the name ends in, and no other of GDAL's 150 formats;
- a VRT is read here, every element and every file it names is checked against what mosaics and warped views need, and GDAL is
  given the text that was checked; its sources are GeoTIFFs and VRTs on this machine, opened by the same rules;
- what a raster declares is compared with a bound and with the bytes there are.

"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.header_checks import CheckedSource, open_checked
from forestgaps_geo.files.source_checks import check_source


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """A raster file as rasterio's DatasetReader.

    Its `name` is a VRT's checked text where the file is one, so that it can be named in another VRT.

    Raises:
        DataError: It is neither a GeoTIFF nor a VRT, is damaged, or asks for what is not done on the word of a file.
    """
    with configure_gdal():
        dataset = open_checked(path, check_source(path))
    with dataset:
        yield dataset


@contextmanager
def open_vrt_text(place: Path, text: str, size: int) -> Iterator[Any]:
    """A VRT that the caller has put together from rasters that he opened by `open_raster`.

    Args:
        place: What it is called.
        size: Bytes of the files it names.

    Raises:
        DataError: It cannot be opened.
    """
    with configure_gdal():
        dataset = open_checked(place, CheckedSource(text, size))
    with dataset:
        yield dataset
