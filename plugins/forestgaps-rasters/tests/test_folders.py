from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import pytest

from forestgaps_core.errors import DataError
from forestgaps_rasters.folders import UnwrittenError, new_folder, size


def test_a_folder_takes_its_name_when_it_is_complete(tmp_path) -> None:
    out = tmp_path / "deep" / "er" / "out"
    with new_folder(out, 10) as folder:
        (folder / "file").write_text("whole")
        assert not out.exists()
        assert folder.parent == out.parent, "another disk could not be renamed to"
    assert (out / "file").read_text() == "whole"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_any_error_leaves_nothing(tmp_path, error) -> None:
    def make() -> None:
        with new_folder(tmp_path / "deep" / "out", 10) as folder:
            (folder / "file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        make()
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_or_file_is_refused(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists already"), new_folder(tmp_path / "out", 10):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is a file"), new_folder(tmp_path / "file" / "out", 10):
        pass


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path) -> None:
    out = tmp_path / "out"

    def make() -> None:
        with new_folder(out, 10):
            out.mkdir()
            (out / "theirs").write_text("kept")

    with pytest.raises(DataError, match="appeared"):
        make()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_too_little_room_is_told_before_anything_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    sentence = r"out: the disk is full; up to 3 GB are needed and 2 MB are free"
    with pytest.raises(DataError, match=sentence), new_folder(tmp_path / "deep" / "out", 3_000_000_000):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), UnwrittenError("not there")])
def test_a_disk_that_fills_on_the_way_is_told_so(tmp_path, error) -> None:
    with pytest.raises(DataError, match="the disk is full"), new_folder(tmp_path / "out", 10):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_told_so(tmp_path) -> None:
    with pytest.raises(DataError, match="may not be written"), new_folder(tmp_path / "out", 10):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_sizes_are_readable() -> None:
    assert [size(n) for n in (12, 1500, 2_500_000, 7 * 10**12)] == ["12 bytes", "1.5 KB", "2.5 MB", "7 TB"]
