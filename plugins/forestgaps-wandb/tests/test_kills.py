"""A process that is killed: no row of the curves is lost, none comes twice, and the order is right."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from forestgaps_tracking.testing import NO_PLOTS_NO_FILES, halves, log_steps, resume_from_state, train_until_killed
from forestgaps_wandb.run_files import HEADER, RunFile, RunFiles
from forestgaps_wandb.tracker import WandbConfig, WandbTracker

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package
from offline import Offline, records

QUIET = WandbConfig(every=1, **NO_PLOTS_NO_FILES)


def train_until_killed_apart(folder: Path, *, checkpoint_at: int, killed_at: int) -> None:
    """Kill a training process that does not use the wandb service of this process."""
    environment = {name: value for name, value in os.environ.items() if "WANDB_SERVICE" not in name}
    settings = "forestgaps_wandb.tracker:WandbConfig"
    train_until_killed(settings, folder, checkpoint_at=checkpoint_at, killed_at=killed_at, environment=environment)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name))


def finish(folder: Path, trainer: Any, steps: range) -> WandbTracker:
    tracker = WandbTracker(folder, QUIET)
    resume_from_state(tracker, folder)
    tracker.fit_start(trainer)
    log_steps(tracker, trainer, halves(steps))
    tracker.store.close({}, failed=False)
    return tracker


def curves(folder: Path) -> list[tuple[int, float]]:
    """The loss in all files of the run, in the order of the sessions."""
    sessions = sorted((folder / "wandb").glob("offline-run-*"), key=lambda place: place.stat().st_ctime_ns)
    found = []
    for place in sessions[:-1]:
        run = Offline.__new__(Offline)  # one that was killed has no record of its exit to wait for
        (file,) = place.glob("*.wandb")
        run.records = list(records(file))
        found += run.curve("steps/loss")
    found += Offline(sessions[-1]).curve("steps/loss")
    return found


def test_rows_before_and_after_the_checkpoint_of_a_killed_run_come_once(tmp_path: Path, trainer: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    train_until_killed_apart(folder, checkpoint_at=99, killed_at=3)  # before the first checkpoint
    train_until_killed_apart(folder, checkpoint_at=7, killed_at=11)
    tracker = finish(folder, trainer, range(8, 15))
    assert {place.name.split("-")[3] for place in (folder / "wandb").glob("offline-run-*")} == {tracker.store.run_id}
    assert curves(folder) == [(step, step / 2) for step in range(1, 15)]


def test_a_row_that_is_on_disk_is_not_kept_in_checkpoints(tmp_path: Path, trainer: Any) -> None:
    tracker = finish(tmp_path, trainer, range(1, 6))
    assert len(curves(tmp_path)) == 5
    assert RunFiles(tmp_path, tracker.store.run_id).last_step() == 5
    assert tracker.state_dict()["rows"] == []


def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_row_and_on_when_it_grows(tmp_path: Path, trainer: Any) -> None:
    finish(tmp_path, trainer, range(1, 9))
    assert len(curves(tmp_path)) == 8
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    whole, steps = path.read_bytes(), []
    copy = tmp_path / "copy.wandb"
    growing = RunFile(copy)
    for length in range(HEADER, len(whole) + 1, 7):
        copy.write_bytes(whole[:length])
        growing.read()
        steps.append(growing.last_step)
        fresh = RunFile(copy)
        fresh.read()
        assert fresh.last_step == growing.last_step
    assert steps == sorted(steps) and steps[0] == -1
    assert set(steps) == {-1, *range(1, 9)}


@pytest.mark.parametrize("content", [b"", b":W&B", b"\0" * 70_000, b"\xff" * 70_000, b":W&B...." + b"\1" * 70_000])
def test_a_file_of_anything_has_no_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.wandb").write_bytes(content)
    file = RunFile(tmp_path / "run.wandb")
    file.read()
    assert file.last_step == -1
