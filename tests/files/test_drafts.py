from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from forestgaps_core.errors import BusyError, DataError, DiskError, ExistsError
from forestgaps_core.files.draft_folder import MARKER, locate_draft
from forestgaps_core.files.drafts import new_files, new_folder, new_path, new_results

MAKERS = [new_path, partial(new_folder, contents=["a"])]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def started(folder: Path, body: str) -> subprocess.Popen[str]:
    """A process that runs code in a folder and kills itself where the code says `die()`."""
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom forestgaps_core.files import draft_folder, drafts, publishing\n"
        "from forestgaps_core.files.drafts import new_folder, new_path, new_results\n"
        f"def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n{body}"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, text=True, stdout=subprocess.PIPE)


def kill_in(folder: Path, body: str) -> int:
    with started(folder, body) as process:
        process.communicate()
    return process.returncode


def test_a_file_has_its_name_when_it_is_complete(tmp_path) -> None:
    out = tmp_path / "deep" / "gaps.txt"
    with new_path(out) as path:
        path.write_text("whole")
        assert path.suffix == ".txt"
        assert not out.exists()
    assert out.read_text() == "whole"
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_has_its_name_when_it_is_complete(tmp_path) -> None:
    with new_folder(tmp_path / "out", contents=["a"]) as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("make", MAKERS)
def test_an_error_leaves_nothing(tmp_path, make, error) -> None:
    with pytest.raises(DiskError if error is OSError else error), make(tmp_path / "deep" / "er" / "out"):
        raise error
    assert not list(tmp_path.iterdir())


def test_what_exists_stays(tmp_path) -> None:
    (tmp_path / "out").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for make in MAKERS:
        for name in ("out", "link"):
            with pytest.raises(DataError, match="exists already"), make(tmp_path / name):
                pytest.fail("begun")
        with (
            pytest.raises(DiskError, match=r"out/below could not be written: (file exists|not a directory)"),
            make(tmp_path / "out" / "below"),
        ):
            pytest.fail("begun")
    assert (tmp_path / "out").read_text() == "mine"
    assert names(tmp_path) == ["link", "out"]


@pytest.mark.parametrize("make", MAKERS)
def test_what_appears_meanwhile_stays(tmp_path, make) -> None:
    def late() -> None:
        with make(tmp_path / "out") as path:
            (path / "a" if path.is_dir() else path).write_text("ours")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(ExistsError, match="exists already"):
        late()
    assert (tmp_path / "out").read_text() == "theirs"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["x" * 250, "x" * 246 + ".gpkg", "ä" * 125, "." + "x" * 251])
def test_a_long_name_is_a_name_like_any_other(tmp_path, name) -> None:
    with new_path(tmp_path / name) as path:
        path.write_text("whole")
        path.with_name(f"{path.name}-journal").touch()
    assert names(tmp_path) == [name]


def test_a_relative_path_and_a_linked_folder_are_as_good_as_any(tmp_path, monkeypatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    with new_folder(Path("link/deep/out/"), contents=["a"]) as folder:
        (folder / "a").write_text("1")
    with new_files(Path("."), ["b", "c"]) as folder:
        (folder / "b").write_text("1")
        (folder / "c").write_text("1")
    assert names(tmp_path) == ["b", "c", "link", "real"]
    assert (tmp_path / "real" / "deep" / "out" / "a").read_text() == "1"
    for here in (Path("."), Path(".."), Path("/")):
        with pytest.raises(ExistsError), new_folder(here, contents=[]):
            pytest.fail("begun")


# --- what belongs to somebody else --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside",
    [
        ["mine.tif"],
        ["lock"],
        ["work.json", "blocks/00000-00000.block"],
        [f"deep/{MARKER}"],
        [MARKER],
        [".forestgaps-1.tmp", "lock"],
    ],
)
@pytest.mark.parametrize("make", MAKERS)
def test_a_folder_without_the_marker_is_not_touched(tmp_path, make, inside) -> None:
    folder = locate_draft(tmp_path / "out")
    for name in inside:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    with (
        pytest.raises(DataError, match=r"\.out\.partial: is in the way and was not left by this program; remove or rename it"),
        make(tmp_path / "out"),
    ):
        pytest.fail("begun")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(inside)
    assert all((folder / name).read_text() == "mine" for name in inside)


def test_a_link_is_not_followed(tmp_path) -> None:
    mine = tmp_path / "mine"
    with new_folder(mine, contents=["a"]) as folder:
        (folder / "a").write_text("1")
        shutil.copytree(locate_draft(mine), tmp_path / "kept")
    shutil.rmtree(mine)
    locate_draft(mine).symlink_to(tmp_path / "kept")
    with pytest.raises(DataError, match="is in the way"), new_folder(mine, contents=["a"]):
        pytest.fail("begun")
    assert len(list((tmp_path / "kept").rglob("a"))) == 1


def test_files_of_the_user_in_a_draft_survive_and_are_named(tmp_path, caplog) -> None:
    """Of a killed process, of one that fails, and of one that succeeds."""
    out, folder = tmp_path / "out", locate_draft(tmp_path / "out")
    kill_in(tmp_path, "with new_folder(Path('out'), contents=['a']) as f:\n (f/'a').write_text('half'); die()")
    content = next(path for path in folder.iterdir() if path.is_dir()) / "out"
    (folder / "mine.txt").write_text("mine")
    (content / "mine.txt").write_text("mine")
    (content / "linked").symlink_to(tmp_path)

    def again(*, fails: bool) -> None:
        with new_folder(out, contents=["a"]) as draft:
            assert not (draft / "a").exists()
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(fails=True)
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["mine.txt", "mine.txt"]
    again(fails=False)
    assert (folder / "mine.txt").read_text() == "mine"
    assert "was kept: it contains what this program did not write" in caplog.text and "mine.txt" in caplog.text
    assert f"{out}: contains what this program did not write (linked, mine.txt); move it" in caplog.text
    survivors = [*tmp_path.rglob("mine.txt")]
    assert len(survivors) == 2 and all(path.read_text() == "mine" for path in survivors)


# --- interrupted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        "new_folder(Path('out'), contents=['a']) as f:\n (f/'a').write_text('half')",
        "new_path(Path('out')) as f:\n f.write_text('half')",
    ],
)
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, make) -> None:
    assert kill_in(tmp_path, f"with {make}\n die()") == -signal.SIGKILL
    assert names(tmp_path) == [".out.partial"]
    with new_folder(tmp_path / "out", contents=["a"]) as folder:
        assert not list(folder.iterdir())
    assert names(tmp_path) == ["out"]


MOMENTS = (
    "draft_folder.write_marker",
    "draft_folder.hold_folder",
    "drafts.refuse_full",
    "drafts.publish",
    "publishing.take_name",
    "publishing.sync_folder",
    "drafts.remove_made",
)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_several_results_are_there_together_or_made_again(tmp_path, moment, skip) -> None:
    """Killed before one of its own calls, a process leaves what the same call makes whole."""
    body = (
        f"count = [0]\nown = {moment}\n"
        f"def strike(*a, **k):\n count[0] += 1\n if count[0] > {skip}: die()\n return own(*a, **k)\n"
        f"{moment} = strike\n"
        "with new_results(Path('a/one'), Path('a/two'), Path('b/three')) as paths:\n"
        " [path.write_text(path.name) for path in paths]\n"
    )
    kill_in(tmp_path, body)
    outs = [tmp_path / name for name in ("a/one", "a/two", "b/three")]
    if not all(out.exists() for out in outs):
        with new_results(*outs) as paths:
            for path in paths:
                path.write_text(path.name)
    else:
        with pytest.raises(ExistsError), new_results(*outs):
            pytest.fail("begun")
    assert [out.read_text() for out in outs] == ["one", "two", "three"]
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["one", "two"], ["three"])


def test_results_of_others_are_not_taken_back(tmp_path) -> None:
    """The names that were given when a process was killed are those of its own files, and of no others."""
    body = (
        "def second(path, out, own=publishing.take_name):\n if out.name == 'two': die()\n own(path, out)\n"
        "publishing.take_name = second\nwith new_results(Path('one'), Path('two')) as paths:\n [p.write_text('x') for p in paths]"
    )
    kill_in(tmp_path, body)
    assert names(tmp_path) == [".one.partial", "one"]
    (tmp_path / "one").rename(tmp_path / "kept")
    (tmp_path / "one").write_text("mine")
    with pytest.raises(ExistsError), new_results(tmp_path / "one", tmp_path / "two"):
        pytest.fail("begun")
    assert (tmp_path / "one").read_text() == "mine" and (tmp_path / "kept").read_text() == "x"
    assert names(tmp_path) == ["kept", "one"]


def edit(path: Path) -> None:
    with path.open("a") as file:
        file.write(" and mine")


def write_anew(path: Path) -> None:
    """With the same number of the file, as a disk gives it again when the first is removed."""
    path.write_text("y")


@pytest.mark.parametrize("change", [edit, write_anew])
def test_a_result_that_the_user_changed_is_not_taken_back(tmp_path, change) -> None:
    body = (
        "def second(path, out, own=publishing.take_name):\n if out.name == 'two': die()\n own(path, out)\n"
        "publishing.take_name = second\nwith new_results(Path('one'), Path('two')) as paths:\n [p.write_text('x') for p in paths]"
    )
    kill_in(tmp_path, body)
    change(tmp_path / "one")
    mine = (tmp_path / "one").read_text()
    with pytest.raises(ExistsError), new_results(tmp_path / "one", tmp_path / "two"):
        pytest.fail("begun")
    assert (tmp_path / "one").read_text() == mine
    assert names(tmp_path) == ["one"]


@pytest.mark.parametrize(("first", "second"), [("Path('two')", ("one",)), ("Path('two'), Path('three')", ("one", "four"))])
def test_what_a_command_of_other_results_left_is_removed(tmp_path, first, second) -> None:
    """Killed between its names, a command of several results leaves drafts; the next of that name makes other ones."""
    body = (
        "def second(path, out, own=publishing.take_name):\n if out.name == 'two': die()\n own(path, out)\n"
        f"publishing.take_name = second\nwith new_results(Path('one'), {first}, contents=['file']) as paths:\n"
        " [p.mkdir() for p in paths]; [(p / 'file').write_text('x') for p in paths]"
    )
    kill_in(tmp_path, body)
    shutil.rmtree(tmp_path / "one")
    with new_results(*(tmp_path / name for name in second)) as paths:
        for path in paths:
            path.write_text("whole")
    assert names(tmp_path) == sorted(second)


@pytest.mark.parametrize("listed", [5, "text", {"a": 1}, [5], [[]], [["one"]], [None], [[5, 6, 7]], [["one", "x", "y"]]])
def test_a_marker_that_lists_anything_else_takes_nothing_back(tmp_path, listed) -> None:
    kill_in(tmp_path, "with new_results(Path('one'), Path('two')):\n die()")
    marker = tmp_path / ".one.partial" / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "publishing": listed, "contents": listed}))
    with new_results(tmp_path / "one", tmp_path / "two") as paths:
        for path in paths:
            path.write_text("whole")
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "whole"


def test_a_second_process_stops_at_its_start(tmp_path) -> None:
    body = "import time\nwith new_folder(Path('out'), contents=[]):\n print('begun', flush=True); time.sleep(60)"
    first = started(tmp_path, body)
    assert first.stdout.readline() == "begun\n"
    with pytest.raises(BusyError, match=rf"in use by process {first.pid} on "), new_folder(tmp_path / "out", contents=[]):
        pytest.fail("begun")
    first.kill()
    first.communicate()
    with new_folder(tmp_path / "out", contents=[]):
        pass
    assert names(tmp_path) == ["out"]


def test_one_name_for_two_results_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="is named twice"), new_results(tmp_path / "a", tmp_path / "b" / ".." / "a"):
        pytest.fail("begun")
    assert not list(tmp_path.iterdir())


def test_without_room_nothing_is_begun(tmp_path) -> None:
    with (
        pytest.raises(DiskError, match=r"out could not be written: no space left.*free on its disk"),
        new_folder(tmp_path / "deep" / "out", contents=[], needed=2**62),
    ):
        pytest.fail("begun")
    assert not list(tmp_path.iterdir())


def test_an_error_of_an_input_is_not_reported_for_the_result(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="input"), new_folder(tmp_path / "out", contents=[]):
        (tmp_path / "input").read_text()
    assert not list(tmp_path.iterdir())


def test_the_marker_is_written_first_and_names_the_program(tmp_path) -> None:
    with new_folder(tmp_path / "out", contents=[]):
        folder = locate_draft(tmp_path / "out")
        told = json.loads((folder / MARKER).read_text())
        assert told["made_by"] == "forestgaps" and len(told["identity"]) == 32
        others = [path.lstat().st_ctime_ns for path in folder.iterdir() if path.name != MARKER]
        assert (folder / MARKER).lstat().st_mtime_ns <= min(others)


@pytest.mark.parametrize("written", [".", "..", "inner/..", "{braces}"])
def test_a_draft_is_beside_its_result_however_that_is_written(tmp_path, written, monkeypatch) -> None:
    (tmp_path / "result" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "result" / "inner" if written == ".." else tmp_path / "result")
    expected = tmp_path / ".result.partial" if written != "{braces}" else tmp_path / "result" / ".{braces}.partial"
    assert Path.cwd() / locate_draft(Path(written)) == expected
