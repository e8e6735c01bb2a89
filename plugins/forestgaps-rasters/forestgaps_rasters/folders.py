"""A folder that is there whole or not at all."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from rasterio.errors import RasterioError

from forestgaps_core.errors import DataError
from forestgaps_core.writing import NO_ROOM, sync_file, sync_folder

TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def finish(temporary: Path, out: Path) -> None:
    """Give the folder its name when all of it is on the disk.

    Raises:
        DataError: Something of that name has appeared meanwhile.
    """
    for path in temporary.rglob("*"):
        if path.is_file():
            sync_file(path)
        else:
            sync_folder(path)
    sync_folder(temporary)
    try:
        temporary.rename(out)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        raise DataError(f"{out}: appeared while its content was being made ({error.strerror})") from error
    sync_folder(out.parent)


def ran_full(error: BaseException, place: Path) -> bool:
    """GDAL does not tell why a write failed, so its errors count where hardly any room is left."""
    if isinstance(error, RasterioError | UnwrittenError):
        return shutil.disk_usage(place).free < 2**20 or isinstance(error, UnwrittenError)
    return isinstance(error, OSError) and error.errno in NO_ROOM


class UnwrittenError(Exception):
    """A file does not hold what was written to it."""
