from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from forestgaps_tracking.testing import (
    halves,
    limited_file_size,
    log_steps,
    resume_from_state,
    train_until_killed,
    unreachable_server,
)

sys.path.insert(0, str(Path(__file__).parent))  # tests are not a package
from stores import ListConfig


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def test_killed_process_leaves_the_state_of_its_checkpoint(tmp_path: Path, trainer: Any, environment: dict[str, str]) -> None:
    train_until_killed("stores:ListConfig", tmp_path, checkpoint_at=9, killed_at=3, environment=environment)
    tracker = ListConfig(every=1).build(run_folder=tmp_path, label="log")
    resume_from_state(tracker, tmp_path)
    assert tracker.store.logged == [], "it was killed before its checkpoint"
    train_until_killed("stores:ListConfig", tmp_path, checkpoint_at=2, killed_at=3, environment=environment)
    resume_from_state(tracker, tmp_path)
    assert [what[:2] for what in tracker.store.logged] == [("open", "0"), ("steps", "1"), ("steps", "2")]
    tracker.fit_start(trainer)
    log_steps(tracker, trainer, halves(range(3, 5)))
    assert [values["steps/loss"] for _, _, values in tracker.store.logged[-2:]] == [1.5, 2.0]


def test_process_that_ends_before_it_is_killed_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 1 before it was killed"):
        train_until_killed("json:missing", tmp_path, checkpoint_at=1, killed_at=1)


def test_unreachable_server_refuses_connections() -> None:
    with unreachable_server() as address, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_limited_file_size_holds_inside_only(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    with limited_file_size(3), (tmp_path / "a").open("wb", buffering=0) as file:
        assert file.write(b"12345") == 3
        with pytest.raises(OSError, match="too large"):
            file.write(b"45")
    (tmp_path / "b").write_bytes(b"12345")
    assert (tmp_path / "a").read_bytes() == b"123" and (tmp_path / "b").stat().st_size == 5
