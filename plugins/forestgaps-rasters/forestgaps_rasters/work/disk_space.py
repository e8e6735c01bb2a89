"""Whether a disk ran full, of errors that do not say so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rasterio.errors import RasterioError

from forestgaps_core.files.atomic import NO_ROOM, make_temporary_name, remove_file
from forestgaps_geo.bands.writing import IncompleteRasterError

PROBE_BYTES = 2**20


def find_disk_full_error(error: BaseException, place: Path, largest_bytes: int = 0) -> OSError | None:
    """Return the system's error that there is no room (disk full, quota, limit of a file's size). None: the cause is another.

    GDAL does not tell why a write failed, and a file that does not hold what was written says nothing either. Then a small file is
    written in the same folder: the system refuses it for the same reason, if there is no room.

    Args:
        place: Where was written. What was written must still be there, since it took the room.
        largest_bytes: Size of the largest file there, for a limit of the size of files.
    """
    if isinstance(error, RasterioError | IncompleteRasterError):
        return probe_disk(place, largest_bytes)
    return error if isinstance(error, OSError) and error.errno in NO_ROOM else None


def probe_disk(place: Path, largest_bytes: int) -> OSError | None:
    limit = get_file_size_limit()
    if limit is not None and largest_bytes >= limit:
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    path = make_temporary_name(place)
    try:
        with path.open("xb") as file:
            file.write(os.urandom(PROBE_BYTES))  # which no disk compresses
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error if error.errno in NO_ROOM else None
    finally:
        remove_file(path)
    return None


def get_file_size_limit() -> int | None:
    """Return the bytes beyond which the system lets no file of this process grow; None: there is no limit."""
    try:
        import resource  # not on every system
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit
