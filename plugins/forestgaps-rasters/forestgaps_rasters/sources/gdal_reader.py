"""The reader `gdal`: GeoTIFFs and VRTs, recognized by their first bytes.

They are opened as they are, by the rules of `forestgaps_geo.files.opening`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attrs import frozen

from forestgaps_geo.files.source_checks import TIFF_SIGNATURES, is_vrt


@frozen(kw_only=True)
class Gdal:
    """GeoTIFFs and virtual rasters (VRT), whatever the name of the file ends in."""

    def build(self) -> GdalReader:
        return GdalReader()


@frozen
class GdalReader:
    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff", ".vrt")

    def claims(self, path: Path, start: bytes) -> bool:
        return start[:4] in TIFF_SIGNATURES or is_vrt(start)

    def read(self, path: Path) -> Path:
        return path
