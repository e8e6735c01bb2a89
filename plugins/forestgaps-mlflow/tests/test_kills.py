"""A process that is killed: no point is lost, none comes twice, and the order is right."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_mlflow.store import DATABASE
from forestgaps_mlflow.tracker import MlflowConfig, MlflowTracker

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from forestgaps_core.testing.example_run import StandInTrainer
from forestgaps_mlflow.tracker import MlflowConfig, MlflowTracker

folder, kept, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
quiet = MlflowConfig(every=1, images=0, confusion=False, curves=False, checkpoints=False, model=False)
tracker, trainer = MlflowTracker(folder, quiet), StandInTrainer()
tracker.fit_start(trainer)
for trainer.step in range(1, last + 1):
    tracker.step_end(trainer, torch.tensor(trainer.step / 2))
    if trainer.step == kept:
        torch.save(tracker.state_dict(), folder / "state.pt")
os.kill(os.getpid(), signal.SIGKILL)
"""


def train_until_killed(folder: Path, kept: int, last: int) -> None:
    """Steps 1 to `last` in a process of its own that is killed then, with a checkpoint after step `kept`."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(kept), str(last)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_points_before_and_after_the_checkpoint_of_a_killed_run_come_once(tmp_path: Path, trainer: Any, database: Path) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / "run"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copyfile(database, folder / "mlflow" / "mlflow.db")
    train_until_killed(folder, kept=99, last=3)  # before the first checkpoint
    train_until_killed(folder, kept=7, last=11)
    tracker = MlflowTracker(folder, MlflowConfig(every=1, images=0, confusion=False, curves=False, checkpoints=False, model=False))
    tracker.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    tracker.fit_start(trainer)
    picture = [("tiles/2m", torch.zeros(3, 4, 4, dtype=torch.uint8))]
    tracker.store.log_pictures(picture, 7)
    for trainer.step in range(8, 15):
        tracker.step_end(trainer, torch.tensor(trainer.step / 2))
    again = MlflowTracker(folder, tracker.config)  # killed after the picture, resumed before it
    again.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    again.store.log_pictures(picture, 7)
    client = MlflowClient(DATABASE + (folder / "mlflow" / "mlflow.db").as_posix())
    experiment = client.get_experiment_by_name("forestgaps")
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "steps/loss")
    assert [(point.step, point.value) for point in points] == [(step, step / 2) for step in range(1, 15)]
    times = [point.timestamp for point in points]
    assert times == sorted(times)
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    assert len(pictures) == 1 and "+step+7+" in pictures[0]
