"""A process that is killed: no point is lost, none comes twice, and the order is right."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_mlflow.store import DATABASE
from forestgaps_mlflow.tracker import MlflowConfig, MlflowTracker
from forestgaps_tracking.testing import NO_PLOTS_NO_FILES, halves, log_steps, resume_from_state, train_until_killed

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

SETTINGS = "forestgaps_mlflow.tracker:MlflowConfig"


def test_points_before_and_after_the_checkpoint_of_a_killed_run_come_once(tmp_path: Path, trainer: Any, database: Path) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / "run"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copyfile(database, folder / "mlflow" / "mlflow.db")
    train_until_killed(SETTINGS, folder, checkpoint_at=99, killed_at=3)  # before the first checkpoint
    train_until_killed(SETTINGS, folder, checkpoint_at=7, killed_at=11)
    tracker = MlflowTracker(folder, MlflowConfig(every=1, **NO_PLOTS_NO_FILES))
    resume_from_state(tracker, folder)
    tracker.fit_start(trainer)
    picture = [("tiles/2m", torch.zeros(3, 4, 4, dtype=torch.uint8))]
    tracker.store.log_pictures(picture, 7)
    log_steps(tracker, trainer, halves(range(8, 15)))
    again = MlflowTracker(folder, tracker.config)  # killed after the picture, resumed before it
    resume_from_state(again, folder)
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
