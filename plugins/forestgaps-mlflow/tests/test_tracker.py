from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve

from forestgaps_core.errors import PluginError
from forestgaps_core.files.checkpoint import choose_weights, load_checkpoint
from forestgaps_core.testing import check_callback
from forestgaps_mlflow.tracker import MlflowConfig, MlflowTracker
from forestgaps_tracking.testing import (
    ABOUT,
    NO_PLOTS_NO_FILES,
    CheckpointAtStep,
    CheckpointEachEpoch,
    FailingCallback,
    LoggingCallback,
    PausingCallback,
    check_reads_device_only_at_intervals,
    log_steps,
    unreachable_server,
)

# MLflow names a loader strategy to SQLAlchemy, each time its tables are set up, that SQLAlchemy 2.1 gives up.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

QUIET = MlflowConfig(every=2, **NO_PLOTS_NO_FILES)


@pytest.fixture
def make(tmp_path: Path, database: Path) -> Callable[..., MlflowTracker]:
    def tracker(folder: str = "run", config: MlflowConfig = QUIET) -> MlflowTracker:
        path = tmp_path / folder / "mlflow" / "mlflow.db"
        if not path.exists():
            path.parent.mkdir(parents=True)
            shutil.copyfile(database, path)
        return MlflowTracker(tmp_path / folder, config)

    return tracker


@pytest.fixture
def nobody() -> Iterator[str]:
    with unreachable_server() as address:
        yield address


def client_of(tracker: MlflowTracker) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker.store.uri)


def curves(tracker: MlflowTracker) -> dict[str, list[tuple[int, float]]]:
    client = client_of(tracker)
    run = client.get_run(tracker.store.run_id)
    history = {name: client.get_metric_history(tracker.store.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in points) for name, points in history.items()}


def files(tracker: MlflowTracker, folder: str | None = None) -> list[str]:
    return sorted(file.path for file in client_of(tracker).list_artifacts(tracker.store.run_id, folder))


def test_contract(tmp_path: Path) -> None:
    check_callback(evolve(QUIET, uri="http://localhost:5000", images=2, images_every=3), tmp_path)


def test_loss_rate_and_gradient_norm_are_logged_at_intervals(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make()
    tracker.fit_start(trainer)
    trainer.gradient_norm = torch.tensor(1.5)
    log_steps(tracker, trainer, {1: 1.0, 2: 3.0, 3: 5.0, 4: 6.0, 5: 9.0})
    found = curves(tracker)
    assert found["steps/loss"] == [(2, 2.0), (4, 5.5)]
    assert found["steps/gradient_norm"] == [(2, 1.5), (4, 1.5)]
    assert found["steps/rate"] == [(2, 1e-3), (4, 1e-3)]


def test_between_intervals_the_device_is_not_read(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make(config=evolve(QUIET, every=100))
    check_reads_device_only_at_intervals(tracker, trainer)


def test_parameters_are_the_settings_and_the_versions(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    train({"tracker": tracker}, epochs=1, about=ABOUT)
    run = client_of(tracker).get_run(tracker.store.run_id)
    assert run.data.params == {"loss.name": "focal", "loss.gamma": "2.0", "version.torch": "2.13.0"}
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")


def test_scores_are_logged_each_epoch_and_those_of_a_threshold_under_the_score(
    make: Callable[..., Any], train: Callable[..., Any]
) -> None:
    tracker = make()
    trainer = train({"tracker": tracker}, epochs=2)
    found = curves(tracker)
    assert [step for step, _ in found["validation/gaps/gap_fraction/2m"]] == [5, 10]
    assert {name.replace("@", "/"): value for name, value in trainer.scores.items()}.items() <= {
        name: points[-1][1] for name, points in found.items()
    }.items()


def test_a_score_that_is_not_defined_stays_nan(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make()
    tracker.fit_start(trainer)
    tracker.epoch_end(trainer, {"validation/gap_iou": float("nan")})
    ((_, value),) = curves(tracker)["validation/gap_iou"]
    assert math.isnan(value)


def test_pictures_matrices_and_curves_are_logged_for_each_threshold(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, images=2, confusion=True, curves=True, images_every=2))
    train({"tracker": tracker}, epochs=2)
    images = [Path(path).name.split("+") for path in files(tracker, "images") if path.endswith(".png")]
    meters = (2, 5, 10)
    expected = {f"gaps_below_{m}m~tile_{tile}" for m in meters for tile in (1, 2)} | {f"confusion~gaps_below_{m}m" for m in meters}
    assert {(name, step) for name, _, step, *_ in images} == {(name, "10") for name in expected}
    path = client_of(tracker).download_artifacts(tracker.store.run_id, "precision_recall/gaps_below_5m/step-00000010.csv")
    header, first, *rest = Path(path).read_text().splitlines()
    assert header == "probability,precision,recall"
    assert first.startswith("0,") and first.endswith(",1")
    assert len(rest) == 100


def test_run_file_versions_and_checkpoints_are_kept_with_the_run(
    make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    tracker = make(config=evolve(QUIET, checkpoints=True))
    for name in ("run.toml", "versions.json"):
        (tmp_path / "run" / name).write_text("#")
    train({"tracker": tracker, "keep": CheckpointEachEpoch(tmp_path / "run" / "checkpoints")}, epochs=1)
    assert files(tracker) == ["checkpoints", "run.toml", "versions.json"]
    assert files(tracker, "checkpoints") == ["checkpoints/best.safetensors", "checkpoints/last.safetensors"]


def test_the_network_is_kept_with_its_last_scores(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, model=True))
    trainer = train({"tracker": tracker}, epochs=2, about=ABOUT)
    client = client_of(tracker)
    run = client.get_run(tracker.store.run_id)
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert {metric.key: metric.value for metric in model.metrics} == {
        name.replace("@", "/"): value for name, value in trainer.scores.items()
    }
    (file,) = Path(model.artifact_location.removeprefix("file://")).iterdir()
    state = load_checkpoint(file)
    assert state["about"] == ABOUT
    kept = choose_weights(state)
    assert all(torch.equal(kept[name], tensor) for name, tensor in trainer.model.state_dict().items())
    assert len(curves(tracker)["validation/loss"]) == 2, "scores sent with the model are not points of their own"


def test_a_resumed_run_continues_in_the_same_run_of_the_tracker(
    make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    keep = CheckpointAtStep(tmp_path / "seven.safetensors", 7)
    whole, first, resumed = make("whole"), make("resumed"), make("resumed")
    train({"tracker": whole, "keep": keep}, epochs=2, about=ABOUT)
    train({"tracker": first, "keep": keep}, epochs=2, about=ABOUT)
    train({"tracker": resumed, "keep": keep}, epochs=2, about=ABOUT, resume=tmp_path / "seven.safetensors")
    assert resumed.store.run_id == first.store.run_id
    assert curves(resumed) == curves(whole)
    assert not resumed.guard.reported


def test_a_run_deleted_from_the_store_is_created_again(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    tracker.store.run_id = "f" * 32
    train({"tracker": tracker}, epochs=1)
    assert tracker.store.run_id != "f" * 32
    assert "train/loss" in curves(tracker)


def test_a_server_that_refuses_connections_is_reported_once_and_training_continues(
    tmp_path: Path, train: Callable[..., Any], nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MlflowConfig(uri=nobody, every=2, images=1)
    trainer = train({"tracker": MlflowTracker(tmp_path / "run", config)}, epochs=2)
    plain = train({}, epochs=2)
    assert trainer.epoch == 2
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), plain.model.parameters(), strict=True))
    told = capsys.readouterr().err.splitlines()
    assert len([line for line in told if line.startswith("callbacks.mlflow: ")]) == 1


def test_points_of_a_lost_connection_are_sent_when_it_is_back(
    make: Callable[..., Any], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    log_batch, calls = MlflowClient.log_batch, iter(range(100))

    def fails_for_a_while(*arguments: Any, **named: Any) -> Any:
        if 1 <= next(calls) < 3:
            raise ConnectionError("gone")
        return log_batch(*arguments, **named)

    whole, tracker = make("whole"), make("run")
    train({"tracker": whole}, epochs=3)
    monkeypatch.setattr(MlflowClient, "log_batch", fails_for_a_while)
    train({"tracker": tracker}, epochs=3)
    assert curves(tracker) == curves(whole)
    assert capsys.readouterr().err.count("ConnectionError: gone") == 1


def test_points_that_wait_are_kept_in_a_checkpoint(tmp_path: Path, trainer: Any, nobody: str, make: Callable[..., Any]) -> None:
    lost = MlflowTracker(tmp_path / "lost", evolve(QUIET, uri=nobody))
    lost.fit_start(trainer)
    trainer.step = 5
    lost.epoch_end(trainer, {"train/loss": 0.5})
    found = make()
    found.load_state_dict(lost.state_dict())
    found.fit_start(trainer)
    trainer.step = 10
    found.epoch_end(trainer, {"train/loss": 0.25})
    assert curves(found) == {"train/loss": [(5, 0.5), (10, 0.25)]}


def test_a_run_that_ends_by_an_error_is_marked_as_failed(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    with pytest.raises(PluginError, match="disk"):
        train({"tracker": tracker, "fails": FailingCallback()})
    assert client_of(tracker).get_run(tracker.store.run_id).info.status == "FAILED"


def test_a_run_that_is_paused_is_not_called_finished(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, model=True))
    train({"tracker": tracker, "pauses": PausingCallback()})
    assert client_of(tracker).get_run(tracker.store.run_id).info.status == "KILLED"


def test_a_test_outside_of_training_is_not_drawn(tmp_path: Path, trainer: Any) -> None:
    tracker = MlflowTracker(tmp_path)
    tracker.evaluation_start(trainer, "validation")
    assert tracker.plots is None


@pytest.mark.parametrize("run", ["../../x", "a/b", "", "x" * 65, "x\n", "<script>", 7])
def test_a_checkpoint_does_not_store_where_to_log(run, tmp_path):
    tracker = MlflowTracker(tmp_path)
    good = tracker.state_dict()
    tracker.load_state_dict(good | {"run": "0123456789abcdef" * 2})
    with pytest.raises((ValueError, TypeError)):
        tracker.load_state_dict(good | {"run": run})
    with pytest.raises((ValueError, TypeError)):
        tracker.load_state_dict(good | {"waiting": [["x", "no number", 1, 2]]})
    tracker.load_state_dict(good | {"waiting": [["../<x>", 1.0, 1, 2]]})
    assert tracker.store.waiting == [("../_x_", 1.0, 1, 2)]


def test_values_of_other_callbacks_are_logged(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    train({"log": tracker, "number": LoggingCallback()}, epochs=1)
    logged = curves(tracker)
    assert logged["steps/number"] == [(2, 1.5), (4, 3.5)]
    assert logged["train/number"] == [(5, 3.0)]
