from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from forestgaps_core.errors import DiskError
from forestgaps_tensorboard.event_file import BoardWriter

resource = pytest.importorskip("resource", reason="limits of a process are a thing of POSIX")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def points(folder: Path) -> list[tuple[int, float]]:
    found: Any = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("loss")]


@pytest.mark.parametrize("limit", [0, 10, 60, 150])
def test_a_disk_that_comes_back_has_every_event_once(tmp_path: Path, limit: int) -> None:
    writer = BoardWriter(str(tmp_path))
    with files_of_at_most(limit):
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
