from __future__ import annotations

import pytest

from forestgaps_core.errors import DataError, DiskError
from forestgaps_gaps.files import new_file, new_folder


def test_a_file_is_there_when_it_is_complete(tmp_path) -> None:
    out = tmp_path / "deep" / "gaps.txt"
    with new_file(out) as path:
        path.write_text("whole")
        assert path.suffix == ".txt"
        assert not out.exists()
    assert out.read_text() == "whole"
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_is_there_when_it_is_complete(tmp_path) -> None:
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_an_error_leaves_nothing(tmp_path, make) -> None:
    with pytest.raises(ZeroDivisionError), make(tmp_path / "deep" / "er" / "out"):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_what_exists_stays(tmp_path) -> None:
    (tmp_path / "out").write_text("mine")
    for make in (new_file, new_folder):
        with pytest.raises(DataError, match="exists already"), make(tmp_path / "out"):
            pytest.fail("begun")
        with (
            pytest.raises(DiskError, match=r"out/below could not be written: (file exists|not a directory)"),
            make(tmp_path / "out" / "below"),
        ):
            pytest.fail("begun")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_appears_meanwhile_stays(tmp_path) -> None:
    def late() -> None:
        with new_file(tmp_path / "out") as path:
            path.write_text("ours")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(DataError, match="exists already"):
        late()
    assert (tmp_path / "out").read_text() == "theirs"
