"""`kill -9` at random moments: the next start works, and the end is that of a run left in peace. `run_kills.py` is the big run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .kill import Strike
from .run_kills import at_random_moments
from .trials import PREPARED, Figures, Workshop, once, same_folder

KILLS = int(os.environ.get("FORESTGAPS_KILLS", "200"))  # of trainings; of `prepare` and `predict` a quarter each
ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"


def kills(workshop: Workshop) -> int:
    return sum(workshop.figures.kills.values())


def test_a_training_killed_again_and_again_ends_as_if_undisturbed(workshop):
    trial, before = workshop.training(), kills(workshop)
    moments = random.Random(5)
    strikes = [Strike(after=moments.uniform(0, 0.2 * trial.seconds), since="run/log.jsonl") for _ in range(3)]
    trial.until_it_ends(iter([*strikes, None]))
    assert kills(workshop) - before >= 2  # the last may come after the end


@pytest.mark.nightly
@pytest.mark.parametrize(("make", "share"), [("training", 1), ("preparing", 0.25), ("predicting", 0.25)])
def test_killed_at_many_moments(make, share, workshop):
    at_random_moments(workshop, getattr(workshop, make), round(KILLS * share), seed=100)
    assert workshop.figures.failed == 0


@pytest.mark.parametrize(
    ("make", "of", "number"),
    [
        ("training", "/.run.", 2),  # the run folder before it has its name
        ("training", "checkpoints/.forestgaps-", 1),  # the first checkpoint: no draft of it yet
        ("training", "checkpoints/.forestgaps-", 2),  # its draft is there, and does not take the name
        ("training", "checkpoints/.forestgaps-", 3),  # the second, which is to take the place of the first
        ("preparing", "prepared.partial", 4),
        ("preparing", "prepared.partial", 12),
        ("predicting", "maps.partial", 6),
        ("predicting", "maps.partial", 20),
    ][:: 1 if ALL else 2],
)
def test_killed_before_a_file_call(make, of, number, workshop):
    """What was being made is there whole or not at all, and the same command, or --resume, ends as if undisturbed."""
    trial, before = getattr(workshop, make)(), kills(workshop)
    trial.until_it_ends(once(Strike(file=number, of=of)))
    assert kills(workshop) == before + 1


def test_a_loader_process_that_is_killed_is_reported_and_started_again(workshop):
    trial = workshop.training(*PREPARED)
    trial.place.mkdir(parents=True)
    end = trial.start(Strike(after=0.1, since="run/log.jsonl", worker=True))
    assert end.status == 0, end.output
    assert end.struck
    assert "a loader process died" in end.output
    same_folder(trial.folder, trial.reference)


def test_no_process_is_left_by_a_training_that_was_killed(workshop):
    trial = workshop.training(*PREPARED)
    trial.until_it_ends(once(Strike(after=0.1, since="run/log.jsonl")))
    until = time.monotonic() + 600
    while left := loaders(trial.place):
        assert time.monotonic() < until, left
        time.sleep(0.2)


def loaders(place: Path) -> list[str]:
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True) == place.resolve():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_the_installed_command_does_the_same(workshop, tmp_path):
    """No forked child but a process of its own, killed once after its first checkpoint."""
    trial = workshop.training()
    command = [sys.executable, "-m", "forestgaps_core"]
    process = subprocess.Popen([*command, *trial.first], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run" / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, *trial.again], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    same_folder(tmp_path / "run", trial.reference)


def test_the_comparison_notices_a_difference(workshop, tmp_path):
    trial = workshop.training()
    run = tmp_path / "run"
    assert workshop.zygote.run(*trial.first, "--set", "environment.seed=1", cwd=tmp_path).status == 0
    (run / "run.toml").write_bytes((trial.reference / "run.toml").read_bytes())
    with pytest.raises(AssertionError):
        same_folder(run, trial.reference)
    assert Figures().table()["kills"] == 0
