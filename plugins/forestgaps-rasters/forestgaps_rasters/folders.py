"""Whether a disk ran full, of errors that do not say so."""

from __future__ import annotations

import shutil
from pathlib import Path

from rasterio.errors import RasterioError

from forestgaps_core.writing import NO_ROOM
from forestgaps_geo.writing import UnwrittenError


def ran_full(error: BaseException, place: Path) -> bool:
    """GDAL does not tell why a write failed, so its errors count where hardly any room is left."""
    if isinstance(error, RasterioError):
        return shutil.disk_usage(place).free < 2**20
    return isinstance(error, UnwrittenError) or (isinstance(error, OSError) and error.errno in NO_ROOM)
