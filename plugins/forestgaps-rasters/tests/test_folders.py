from __future__ import annotations

import errno
from pathlib import Path

import pytest
from rasterio.errors import RasterioError

from forestgaps_core.errors import DataError
from forestgaps_rasters.folders import UnwrittenError, finish, ran_full


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "file").write_text("whole")
    return folder


def test_a_folder_takes_its_name_with_all_that_is_in_it(tmp_path) -> None:
    finish(made(tmp_path / "draft"), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").write_text("kept")
    with pytest.raises(DataError, match="appeared"):
        finish(made(tmp_path / "draft"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


def test_a_full_disk_is_known_by_its_errors(tmp_path) -> None:
    assert ran_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert ran_full(UnwrittenError("not there"), tmp_path)
    assert not ran_full(OSError(errno.EACCES, "Permission denied"), tmp_path)
    assert not ran_full(RasterioError("damaged"), tmp_path), "there is room"
    assert not ran_full(ValueError("a bug"), tmp_path)
