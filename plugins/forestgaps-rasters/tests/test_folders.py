from __future__ import annotations

import errno

from rasterio.errors import RasterioError

from forestgaps_geo.writing import UnwrittenError
from forestgaps_rasters.folders import ran_full


def test_a_full_disk_is_known_by_its_errors(tmp_path) -> None:
    assert ran_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert ran_full(UnwrittenError("not there"), tmp_path)
    assert not ran_full(OSError(errno.EACCES, "Permission denied"), tmp_path)
    assert not ran_full(RasterioError("damaged"), tmp_path), "there is room"
    assert not ran_full(ValueError("a bug"), tmp_path)
