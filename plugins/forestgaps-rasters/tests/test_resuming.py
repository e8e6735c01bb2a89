from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from forestgaps_core.errors import BusyError, DataError, DiskError
from forestgaps_core.files.draft_folder import MARKER
from forestgaps_rasters.work.work_folder import get_partial_folder, open_work_folder

ABOUT = {"network": "abc", "window": 512, "input files": [["a.tif", 1, 2]]}
BLOCK = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def begun(out, *items, about=ABOUT) -> None:
    """Work that was interrupted after these blocks."""

    def work_on() -> None:
        with open_work_folder(out, about, 0) as work:
            for item in items:
                work.write_block(item, BLOCK)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_on()


def test_finished_work_becomes_the_result_and_nothing_else_is_left(tmp_path) -> None:
    with open_work_folder(tmp_path / "deep" / "out", ABOUT, 0) as work:
        assert not work.resumed
        work.write_block((0, 0), BLOCK)
        (work.result / "map").write_text("done")
        work.complete()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "map").read_text() == "done"


def test_a_file_of_the_user_in_the_result_is_named_when_it_gets_its_name(tmp_path, caplog) -> None:
    begun(tmp_path / "out", (0, 0))
    result = get_partial_folder(tmp_path / "out") / "result"
    result.mkdir()
    (result / "mine.tif").write_text("mine")
    with open_work_folder(tmp_path / "out", ABOUT, 0, contents=("result/map",)) as work:
        (work.result / "map").write_text("done")
        work.complete()
    assert (tmp_path / "out" / "mine.tif").read_text() == "mine"
    assert "out: contains what this program did not write (mine.tif); move it" in caplog.text


def test_interrupted_work_is_found_again(tmp_path) -> None:
    begun(tmp_path / "out", (0, 0), (12, 345))
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        assert work.resumed
        assert work.list_finished() == {(0, 0), (12, 345)}
        assert np.array_equal(work.read_block((12, 345), BLOCK.shape), BLOCK)
        work.write_block((0, 1), None)
        assert work.read_block((0, 1), BLOCK.shape) is None
        work.complete()
    assert not get_partial_folder(tmp_path / "out").exists()


def test_work_without_a_finished_block_leaves_nothing(tmp_path) -> None:
    begun(tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())


def test_other_work_in_its_place_is_refused_and_thrown_away_where_asked(tmp_path) -> None:
    begun(tmp_path / "out", (0, 0))
    other = ABOUT | {"window": 768, "input files": [["a.tif", 1, 3]]}
    sentence = r"out.partial: was started with other inputs or settings.*window \(512, now 768\), input files; --restart"
    with pytest.raises(DataError, match=sentence), open_work_folder(tmp_path / "out", other, 0):
        pass
    assert (get_partial_folder(tmp_path / "out") / "blocks" / "00000-00000.block").exists(), "refused, not destroyed"
    with open_work_folder(tmp_path / "out", other, 0, restart=True) as work:
        assert work.list_finished() == set()
        work.complete()


def test_work_that_says_nothing_of_itself_is_refused(tmp_path) -> None:
    begun(tmp_path / "out", (0, 0))
    (get_partial_folder(tmp_path / "out") / "work.json").write_text("{")
    with pytest.raises(DataError, match="cannot be resumed"), open_work_folder(tmp_path / "out", ABOUT, 0):
        pass
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "file").write_text("mine")
    with pytest.raises(DataError, match="is in the way"), open_work_folder(tmp_path / "mine", ABOUT, 0):
        pass
    assert (tmp_path / "mine.partial" / "file").read_text() == "mine"


def test_an_existing_result_is_refused(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists already"), open_work_folder(tmp_path / "out", ABOUT, 0):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is a file"), open_work_folder(tmp_path / "file" / "out", ABOUT, 0):
        pass


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda content: content[:2]])
def test_a_damaged_block_is_told_and_made_again(tmp_path, change) -> None:
    begun(tmp_path / "out", (0, 0), (0, 1))
    path = get_partial_folder(tmp_path / "out") / "blocks" / "00000-00000.block"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged and was removed"), open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        work.read_block((0, 0), BLOCK.shape)
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        assert work.list_finished() == {(0, 1)}


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("blocks/00000-00000.block", Path.mkdir, "a folder, not the file"),
        ("blocks/00000-00001.draft", Path.mkdir, "a folder, not the file"),
        ("blocks/00000-00000.block", os.mkfifo, "a named pipe, not the file"),
        ("blocks/00000-00000.block", lambda path: path.symlink_to("/dev/zero"), "a link to a device, not the file"),
        ("work.json", Path.mkdir, "a folder, not the file"),
        ("result", Path.touch, "a file, not the folder"),
        ("blocks", Path.touch, "a file, not the folder"),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_something_else_that_has_the_name_of_a_part_is_named_and_kept(tmp_path, name, make, kind, restart) -> None:
    begun(tmp_path / "out", (0, 0), (0, 1))
    path = get_partial_folder(tmp_path / "out") / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path)
    sentence = rf"{name}: is {kind} that this program \w+\. Move it elsewhere or remove it, and repeat the command"
    with pytest.raises(DataError, match=sentence), open_work_folder(tmp_path / "out", ABOUT, 0, restart=restart):
        pytest.fail("begun")
    assert os.path.lexists(path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if name.startswith("blocks/"):
        with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
            assert work.list_finished() == ({(0, 1)} if name.endswith("00.block") else {(0, 0), (0, 1)})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Path.mkdir, "is a folder, not a finished block. Move it"),
        (os.mkfifo, "is a named pipe, not a finished block. Move it"),
        (lambda path: None, "was removed. Repeat the command"),
    ],
)
def test_a_block_that_is_replaced_on_the_way_is_named(tmp_path, make, sentence) -> None:
    def work_on() -> None:
        with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
            work.write_block((0, 0), BLOCK)
            work.get_path((0, 0)).unlink()
            make(work.get_path((0, 0)))
            work.read_block((0, 0), BLOCK.shape)

    with pytest.raises(DataError, match=f"00000-00000.block: {sentence}"):
        work_on()


def test_a_half_written_block_is_no_block(tmp_path) -> None:
    begun(tmp_path / "out", (0, 0))
    (get_partial_folder(tmp_path / "out") / "blocks" / "00000-00001.draft").write_bytes(b"half")
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        assert work.list_finished() == {(0, 0)}


def test_too_little_room_is_told_before_anything_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    sentence = r"out: the disk is full; up to 3.0 GB are needed and 2.0 MB are free"
    with pytest.raises(DiskError, match=sentence), open_work_folder(tmp_path / "deep" / "out", ABOUT, 3_000_000_000):
        pass
    assert not list(tmp_path.iterdir())


def test_on_a_full_disk_finished_blocks_are_kept(tmp_path) -> None:
    sentence = r"disk is full.*1 finished parts are kept in .*out.partial; with more room the same command resumes"

    def work_on() -> None:
        with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
            work.write_block((0, 0), BLOCK)
            (work.result / "draft").write_text("big")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskError, match=sentence):
        work_on()
    assert not (get_partial_folder(tmp_path / "out") / "result").exists(), "what can be made again quickly gives its room back"


HOLD = (
    "import sys, json, time\nfrom pathlib import Path\nfrom forestgaps_rasters.work.work_folder import open_work_folder\n"
    "try:\n    with open_work_folder(Path(sys.argv[1]), json.loads(sys.argv[2]), 0) as work:\n        print(work.resumed, "
    "flush=True)\n        work.write_block((0, 7), None)\n        print('kept', flush=True)\n        sys.stdin.read()\n        "
    "work.complete()\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
)


def another(out) -> subprocess.Popen[str]:
    """A process that does the same work, and waits in it until its input ends."""
    line = [sys.executable, "-c", HOLD, str(out), json.dumps(ABOUT)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_are_not_at_it_at_once(tmp_path) -> None:
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        work.write_block((0, 0), BLOCK)
        said, _ = another(tmp_path / "out").communicate()
        assert said.startswith("BusyError")
        assert f"in use by process {os.getpid()} on " in said
        assert " since 20" in said, "the time it was begun"
        assert work.list_finished() == {(0, 0)}, "the other one has touched nothing"
        work.complete()
    assert not get_partial_folder(tmp_path / "out").exists()


def test_a_killed_process_leaves_its_work_and_no_lock(tmp_path) -> None:
    other = another(tmp_path / "out")
    assert [other.stdout.readline(), other.stdout.readline()] == ["False\n", "kept\n"]
    with (
        pytest.raises(BusyError, match=f"in use by process {other.pid} on .* since 20"),
        open_work_folder(tmp_path / "out", ABOUT, 0),
    ):
        pass
    other.kill()
    other.communicate()
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        assert work.resumed
        assert work.list_finished() == {(0, 7)}
        work.complete()


@pytest.mark.parametrize("left", [[], [f".forestgaps-{'0' * 32}.tmp"], [MARKER, "lock"], [MARKER, "lock", "blocks/", "result/"]])
def test_work_killed_before_it_said_what_it_is_is_begun_anew(tmp_path, left) -> None:
    get_partial_folder(tmp_path / "out").mkdir()
    for name in left:
        path = get_partial_folder(tmp_path / "out") / name
        path.mkdir() if name.endswith("/") else path.write_text(marker("1" * 32) if name == MARKER else "")
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        assert not work.resumed
        work.complete()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- what belongs to somebody else ------------------------------------------------------------------------------------


def marker(identity: str) -> str:
    return json.dumps({"made_by": "forestgaps", "identity": identity})


@pytest.mark.parametrize(
    "inside",
    [
        {"lock": "mine"},
        {"work.json": "{}"},
        {"work.json": "{}", "lock": "", "blocks/00000-00000.block": "x"},
        {"sub/work.json": "{}", "photo.jpg": "x"},
        {f"sub/{MARKER}": marker("1" * 32), "photo.jpg": "x"},
        {MARKER: "{}"},
        {MARKER: marker("me")},
        {MARKER: "[" * 100_000},
        {f".forestgaps-{'0' * 32}.tmp": "", "photo.jpg": "x"},
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_that_does_not_prove_whose_it_is_is_not_touched(tmp_path, inside, restart) -> None:
    folder = get_partial_folder(tmp_path / "out")
    for name, text in inside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with (
        pytest.raises(DataError, match=r"out\.partial: is in the way and was not left by this program; remove or rename it"),
        open_work_folder(tmp_path / "out", ABOUT, 0, restart=restart),
    ):
        pytest.fail("begun")
    there = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert there == inside


MINE = [
    "mine.tif",
    "blocks/mine.block",
    "blocks/00001-00001 (copy).block",
    "blocks/00001 to 5-00002.draft",
    "blocks/sub/mine.txt",
    "result/mine.txt",
    "lock.txt",
]


@pytest.mark.parametrize("ending", ["completes", "restarts", "fails"])
def test_files_of_the_user_in_a_work_folder_survive_and_are_named(tmp_path, caplog, ending) -> None:
    out, folder = tmp_path / "out", get_partial_folder(tmp_path / "out")
    begun(out, (0, 0))
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "linked").symlink_to(tmp_path)

    def work_on() -> None:
        with open_work_folder(out, ABOUT, 0, restart=ending == "restarts", contents=["result/map"]) as work:
            assert work.resumed is (ending != "restarts")
            (work.result / "map").write_text("done")
            if ending == "fails":
                raise DataError("no")
            work.complete()

    if ending == "fails":
        with pytest.raises(DataError, match="no"):
            work_on()
    else:
        work_on()
        assert "was kept: it contains what this program did not write" in caplog.text and "mine.tif" in caplog.text
        assert not list(folder.rglob("*-00000.block")) and not (folder / "work.json").exists()
    survivors = [path for place in (out, folder) for path in place.rglob("*") if path.is_file() and path.read_bytes() == b"mine"]
    assert len(survivors) == len(MINE)
    assert (folder / "linked").is_symlink()


@pytest.mark.parametrize("name", ["", "blocks", "result"])
def test_a_link_in_place_of_a_folder_is_refused(tmp_path, name) -> None:
    begun(tmp_path / "out", (0, 0))
    place = get_partial_folder(tmp_path / "out") / name
    if place.exists():
        place.rename(tmp_path / "kept")
    (tmp_path / "kept").mkdir(exist_ok=True)
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    place.symlink_to(tmp_path / "kept")
    with pytest.raises(DataError, match=r"is a link|is in the way"), open_work_folder(tmp_path / "out", ABOUT, 0, restart=True):
        pytest.fail("begun")
    assert (tmp_path / "kept" / "mine.txt").read_text() == "mine"


def test_a_draft_that_is_a_link_is_not_written_through(tmp_path) -> None:
    (tmp_path / "mine").write_text("mine")
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        (work.blocks / "00000-00000.draft").symlink_to(tmp_path / "mine")
        work.write_block((0, 0), BLOCK)
        assert np.array_equal(work.read_block((0, 0), BLOCK.shape), BLOCK)
        work.complete()
    assert (tmp_path / "mine").read_text() == "mine"


def test_killed_when_it_had_just_finished_it_leaves_nothing_for_good(tmp_path, monkeypatch) -> None:
    with open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        work.write_block((0, 0), BLOCK)
        monkeypatch.setattr(type(work), "discard", lambda _: None)
        work.complete()
    monkeypatch.undo()
    assert get_partial_folder(tmp_path / "out").is_dir()
    with pytest.raises(DataError, match="exists already"), open_work_folder(tmp_path / "out", ABOUT, 0):
        pytest.fail("begun")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_name_of_250_letters_is_one_like_any_other(tmp_path) -> None:
    out = tmp_path / ("x" * 250)
    begun(out, (0, 0))
    with open_work_folder(out, ABOUT, 0) as work:
        assert work.list_finished() == {(0, 0)}
        work.complete()
    assert list(tmp_path.iterdir()) == [out]


def test_a_block_that_a_power_failure_emptied_is_not_taken_for_one_without_data(tmp_path) -> None:
    begun(tmp_path / "out", (0, 0))
    (get_partial_folder(tmp_path / "out") / "blocks" / "00000-00000.block").write_bytes(b"")
    with pytest.raises(DataError, match="is damaged and was removed"), open_work_folder(tmp_path / "out", ABOUT, 0) as work:
        work.read_block((0, 0), BLOCK.shape)


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, "null", '"x"', "{}" * 2])
def test_a_damaged_account_of_the_work_is_refused(tmp_path, content) -> None:
    begun(tmp_path / "out", (0, 0))
    (get_partial_folder(tmp_path / "out") / "work.json").write_text(content)
    (get_partial_folder(tmp_path / "out") / "blocks" / "x.block").write_text("")
    with pytest.raises(DataError, match="cannot be resumed"), open_work_folder(tmp_path / "out", ABOUT, 0):
        pass


def test_a_folder_that_may_not_be_written_is_told_so(tmp_path) -> None:
    with pytest.raises(DiskError, match="may not be written"), open_work_folder(tmp_path / "out", ABOUT, 0):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not list(tmp_path.iterdir())
