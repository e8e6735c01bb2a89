"""A folder that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from rasterio.errors import RasterioError

from forestgaps_core.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def finish(temporary: Path, out: Path) -> None:
    """Give the folder its name when all of it is on the disk.

    Raises:
        DataError: Something of that name has appeared meanwhile.
    """
    for path in (*temporary.rglob("*"), temporary):
        synced(path)
    try:
        temporary.rename(out)
    except OSError as error:
        raise DataError(f"{out}: appeared while its content was being made ({error.strerror})") from error
    synced(out.parent)


def synced(path: Path) -> None:
    """On the disk, not only in the system's memory; Windows cannot do this for folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def ran_full(error: BaseException, place: Path) -> bool:
    """GDAL does not tell why a write failed, so its errors count where hardly any room is left."""
    if isinstance(error, RasterioError | UnwrittenError):
        return shutil.disk_usage(place).free < 2**20 or isinstance(error, UnwrittenError)
    return isinstance(error, OSError) and error.errno in FULL


class UnwrittenError(Exception):
    """A file does not hold what was written to it."""


def too_full(out: Path, room: int, free: int) -> str:
    return f"{out}: the disk is full; up to {size(room)} are needed and {size(free)} are free. Nothing was left behind"


def size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, {"bytes": "KB", "KB": "MB", "MB": "GB", "GB": "TB"}[unit]
    return f"{value:.3g} {unit}"
