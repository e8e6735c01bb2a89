"""Helpers for tests of trackers: callbacks that interrupt a run, a killed process, a server that does not answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from forestgaps_core import hookimpl
from forestgaps_core.files.checkpoint import read_state_file, write_state_file
from forestgaps_core.testing.example_run import StandInTrainer
from forestgaps_tracking.tracker import Tracker

NO_PLOTS_NO_FILES = {"images": 0, "confusion": False, "curves": False, "checkpoints": False, "model": False}
ABOUT = {"config": {"loss": {"name": "focal", "gamma": 2.0}}, "versions": {"torch": "2.13.0"}}


@frozen
class CheckpointAtStep:
    """A callback that writes a checkpoint after one step."""

    path: Path
    step: int

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        if trainer.step == self.step:
            trainer.checkpoint(self.path)


@frozen
class CheckpointEachEpoch:
    """A callback that writes `best.safetensors` and `last.safetensors` after each epoch."""

    folder: Path

    @hookimpl
    def epoch_end(self, trainer: Any) -> None:
        for name in ("best.safetensors", "last.safetensors"):
            trainer.checkpoint(self.folder / name)


class LoggingCallback:
    """A callback that logs `number`, the number of the step."""

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        trainer.log("number", torch.tensor(float(trainer.step)))


class FailingCallback:
    """A callback that ends training by an error."""

    @hookimpl
    def step_end(self) -> None:
        raise OSError("disk")


class PausingCallback:
    """A callback that pauses training."""

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        trainer.stop("pause", final=False)


def log_steps(tracker: Any, trainer: Any, losses: Mapping[int, float]) -> None:
    """Send the end of each of these steps to a tracker, with its loss."""
    for trainer.step, loss in losses.items():
        tracker.step_end(trainer, torch.tensor(loss))


def halves(steps: range) -> dict[int, float]:
    """Return a loss for each step that tells it from the others."""
    return {step: step / 2 for step in steps}


def check_reads_device_only_at_intervals(tracker: Any, trainer: Any) -> None:
    """Check that a tracker with `every=100` does not read the loss or the gradient norm in steps 1 to 99, and does in step 100."""
    tracker.fit_start(trainer)
    trainer.gradient_norm = torch.ones((), device="meta")
    for trainer.step in range(1, 100):
        tracker.step_end(trainer, torch.ones((), device="meta"))  # its value cannot be read
    trainer.step = 100
    try:
        tracker.step_end(trainer, torch.ones((), device="meta"))
    except NotImplementedError:
        return
    raise AssertionError("the loss was not read at the end of the interval")


@contextmanager
def unreachable_server() -> Iterator[str]:
    """Yield the address of a server that refuses connections. The port stays taken, so that no other program can use it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Let the system write at most `size` bytes into any file. Works on POSIX only."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- a process that is killed ---------------------------------------------------------------------------------------


def train_until_killed(
    settings: str, folder: Path, *, checkpoint_at: int, killed_at: int, environment: Mapping[str, str] | None = None
) -> None:
    """Train in a process of its own that kills itself.

    Args:
        settings: Module and class of the tracker's settings, `package.module:Name`.
        folder: Run folder. The state of the tracker is written to `state.safetensors` in it.
        checkpoint_at: The step after which its state is written.
        killed_at: The last step. Losses are those of `halves`.
        environment: Of the process; absent: that of this one.
    """
    code = "import sys; from forestgaps_tracking.testing import log_and_die; log_and_die(*sys.argv[1:])"
    command = [sys.executable, "-c", code, settings, str(folder), str(checkpoint_at), str(killed_at)]
    done = subprocess.run(command, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, f"the process ended with {done.returncode} before it was killed"


def log_and_die(settings: str, folder: str, checkpoint_at: str, killed_at: str) -> None:
    """What the process of `train_until_killed` does."""
    import pkgutil

    tracker: Tracker = pkgutil.resolve_name(settings)(every=1, **NO_PLOTS_NO_FILES).build(run_folder=Path(folder), label="tracker")
    trainer: Any = StandInTrainer()
    tracker.fit_start(trainer)
    log_steps(tracker, trainer, halves(range(1, min(int(checkpoint_at), int(killed_at)) + 1)))
    if int(checkpoint_at) <= int(killed_at):
        state: Any = tracker
        with (Path(folder) / "state.safetensors").open("wb") as file:
            write_state_file(file, state.state_dict())
        log_steps(tracker, trainer, halves(range(int(checkpoint_at) + 1, int(killed_at) + 1)))
    os.kill(os.getpid(), signal.SIGKILL)


def resume_from_state(tracker: Any, folder: Path) -> None:
    """Load the state that `train_until_killed` wrote, if there is one."""
    if (folder / "state.safetensors").exists():
        tracker.load_state_dict(read_state_file(folder / "state.safetensors"))
