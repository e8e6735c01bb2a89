"""A folder that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rasterio.errors import RasterioError

from forestgaps_core.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def new_folder(out: Path, room: int) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block ends, and vanishes with all in it on any error.

    Args:
        room: Bytes the folder will need at most, checked before anything is written.

    Raises:
        DataError: `out` exists, there is too little room, or the disk ran full on the way.
    """
    if out.exists() or out.is_symlink():
        raise DataError(f"{out}: exists already; nothing is overwritten, so name another folder or remove this one")
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise DataError(f"{out}: cannot be made, {existing} is a file")
    if (free := shutil.disk_usage(existing).free) < room:
        raise DataError(too_full(out, room, free))
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        yield temporary
        finish(temporary, out)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        if ran_full(error, existing):
            raise DataError(too_full(out, room, shutil.disk_usage(existing).free)) from error
        if isinstance(error, PermissionError):
            raise DataError(f"{out}: may not be written ({error.strerror})") from error
        raise


def finish(temporary: Path, out: Path) -> None:
    for path in (*temporary.rglob("*"), temporary):
        synced(path)
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o777 & ~mask)  # mkdtemp's is for the owner alone
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
