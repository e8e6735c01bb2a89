from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from forestgaps_core.errors import DiskError
from forestgaps_tensorboard.event_file import BoardWriter
from forestgaps_tracking.testing import limited_file_size

pytest.importorskip("resource", reason="limits of a process are a thing of POSIX")


def points(folder: Path) -> list[tuple[int, float]]:
    found: Any = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("loss")]


@pytest.mark.parametrize("limit", [0, 10, 60, 150])
def test_a_disk_that_comes_back_has_every_event_once(tmp_path: Path, limit: int) -> None:
    writer = BoardWriter(str(tmp_path))
    with limited_file_size(limit):
        for step in range(5):
            writer.add_scalar("loss", step / 2, step)
        with pytest.raises(DiskError, match=r"tfevents.* could not be written: file too large \(.* needed.*wait in memory"):
            writer.flush()
    writer.add_scalar("loss", 2.5, 5)
    writer.close()
    assert points(tmp_path) == [(step, step / 2) for step in range(6)]


def test_what_a_kill_tore_is_left_out_and_what_the_next_session_writes_is_read(tmp_path: Path) -> None:
    for session in range(2):
        writer = BoardWriter(str(tmp_path), purge_step=3 if session else None)
        for step in range(3 * session, 3 * session + 3):
            writer.add_scalar("loss", float(step), step)
        writer.close()
        if not session:
            (file,) = tmp_path.iterdir()
            torn = file.read_bytes()[:-5]
            file.rename(tmp_path / "events.out.tfevents.0000000001.a.1.0").write_bytes(torn)
    assert points(tmp_path) == [(0, 0.0), (1, 1.0), (3, 3.0), (4, 4.0), (5, 5.0)]


def test_a_resumed_run_continues_its_file_where_the_checkpoint_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, with a clock that goes back by a year at each resume: each step once, and times that never go back."""
    clock = 1e9
    monkeypatch.setattr("time.time", lambda: clock)
    before, state = None, None
    for session in range(4):
        writer = BoardWriter(str(tmp_path), 3 * session if session else None, before)
        for step in range(3 * session, 3 * session + 5):  # two more than the checkpoint knows
            if step == 3 * session + 3:
                state = writer.state()
            writer.add_scalar("loss", step / 2, step)
            clock += 1
        if session % 2:
            writer.flush()  # else what came after the checkpoint is lost with the process
        before, clock = state, clock - 3e7
    assert len(list(tmp_path.iterdir())) == 1
    accumulator: Any = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    accumulator.Reload()
    events = accumulator.Scalars("loss")
    assert [event.step for event in events] == list(range(14))
    times = [event.wall_time for event in events]
    assert times == sorted(times)


def test_what_the_disk_did_not_take_is_in_the_checkpoint(tmp_path: Path) -> None:
    writer = BoardWriter(str(tmp_path))
    with limited_file_size(20):
        writer.add_scalar("loss", 0.0, 0)
        state = writer.state()
    again = BoardWriter(str(tmp_path), 1, state)
    again.add_scalar("loss", 0.5, 1)
    again.close()
    assert points(tmp_path) == [(0, 0.0), (1, 0.5)]


@pytest.mark.parametrize("name", ["../outside", "events.out.tfevents.0000000001.forestgaps/../x", "", None, 3, "/etc/passwd"])
def test_a_checkpoint_does_not_choose_the_file(tmp_path: Path, name: Any) -> None:
    (tmp_path / "outside").write_bytes(b"x" * 100)
    writer = BoardWriter(str(tmp_path / "board"), 2, {"file": name, "bytes": 10, "waiting": None})
    writer.add_scalar("loss", 1.0, 2)
    writer.close()
    assert (tmp_path / "outside").read_bytes() == b"x" * 100
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["events.out.tfevents.0000000001.forestgaps"]


def test_a_link_in_the_place_of_the_file_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x" * 100)
    folder = tmp_path / "board"
    folder.mkdir()
    name = "events.out.tfevents.0000000001.forestgaps"
    (folder / name).symlink_to(tmp_path / "outside")
    writer = BoardWriter(str(folder), 2, {"file": name, "bytes": 100, "waiting": None})
    writer.add_scalar("loss", 1.0, 2)
    writer.close()
    assert (tmp_path / "outside").read_bytes() == b"x" * 100


@pytest.mark.parametrize("lost", [1, 7, 40, 10_000])
def test_a_file_that_lost_its_end_is_continued_after_its_last_whole_record(tmp_path: Path, lost: int) -> None:
    writer = BoardWriter(str(tmp_path))
    for step in range(5):
        writer.add_scalar("loss", step / 2, step)
    state = writer.state()
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.truncate(max(path.stat().st_size - lost, 0))
    again = BoardWriter(str(tmp_path), 5, state)
    again.add_scalar("loss", 2.5, 5)
    again.close()
    found = points(tmp_path)
    assert found[-1] == (5, 2.5) and found[:-1] == [(step, step / 2) for step in range(len(found) - 1)]
