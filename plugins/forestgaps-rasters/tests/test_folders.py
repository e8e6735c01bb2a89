from __future__ import annotations

import errno

import pytest
from rasterio.errors import RasterioError

from forestgaps_geo.bands.writing import IncompleteRasterError
from forestgaps_rasters.work.disk_space import PROBE_BYTES, find_disk_full_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_lack_of_room_is_known_by_its_number(tmp_path, number) -> None:
    error = OSError(number, "no room")
    assert find_disk_full_error(error, tmp_path) is error


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EACCES, "Permission denied"), RasterioError("damaged"), IncompleteRasterError("not there"), ValueError("a bug")],
)
def test_where_a_file_can_be_written_the_cause_is_another(tmp_path, error) -> None:
    assert find_disk_full_error(error, tmp_path) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RasterioError("write failed"), IncompleteRasterError("not there")])
@pytest.mark.parametrize(("limit", "largest"), [(PROBE_BYTES // 2, 0), (4 * PROBE_BYTES, 4 * PROBE_BYTES)])
def test_of_errors_without_a_number_the_system_is_asked(tmp_path, error, limit, largest) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        found = find_disk_full_error(error, tmp_path, largest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found is not None and found.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
