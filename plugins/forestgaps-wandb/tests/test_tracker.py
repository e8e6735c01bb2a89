from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve

from forestgaps_core.errors import PluginError
from forestgaps_core.files.checkpoint import choose_weights, load_checkpoint
from forestgaps_core.testing import check_callback
from forestgaps_tracking.testing import (
    ABOUT,
    NO_PLOTS_NO_FILES,
    CheckpointAtStep,
    CheckpointEachEpoch,
    FailingCallback,
    LoggingCallback,
    check_reads_device_only_at_intervals,
    log_steps,
    unreachable_server,
)
from forestgaps_wandb.tracker import WandbConfig, WandbTracker

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package
from offline import Offline, offline_runs

QUIET = WandbConfig(every=2, **NO_PLOTS_NO_FILES)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., WandbTracker]:
    def tracker(folder: str = "run", config: WandbConfig = QUIET) -> WandbTracker:
        return WandbTracker(tmp_path / folder, config)

    return tracker


@pytest.fixture
def nobody() -> Iterator[str]:
    with unreachable_server() as address:
        yield address


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No log-in of whoever runs the tests, and nothing written to their home but what wandb logs of itself."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name))
    yield
    assert not [file for file in (tmp_path / "home").rglob("*") if file.is_file() and file.suffix != ".log"]


def only_run(tracker: WandbTracker) -> Offline:
    (run,) = offline_runs(tracker.run_folder)
    return run


def artifacts(run: Offline) -> dict[str, Any]:
    return {artifact.type: artifact for artifact in run.of("artifact")}


def test_contract(tmp_path: Path) -> None:
    check_callback(evolve(QUIET, mode="online", server="http://localhost:8080", images=2, histograms_every=3), tmp_path)


def test_loss_rate_and_gradient_norm_are_logged_at_intervals(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make()
    tracker.fit_start(trainer)
    trainer.gradient_norm = torch.tensor(1.5)
    log_steps(tracker, trainer, {1: 1.0, 2: 3.0, 3: 5.0, 4: 6.0, 5: 9.0})
    tracker.store.close({}, failed=False)
    run = only_run(tracker)
    assert run.curve("steps/loss") == [(2, 2.0), (4, 5.5)]
    assert run.curve("steps/gradient_norm") == [(2, 1.5), (4, 1.5)]
    assert run.curve("steps/rate") == [(2, 1e-3), (4, 1e-3)]


def test_between_intervals_the_device_is_not_read(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make(config=evolve(QUIET, every=100, mode="disabled"))
    check_reads_device_only_at_intervals(tracker, trainer)
    tracker.store.close({}, failed=False)


def test_parameters_are_the_settings_and_the_versions(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    train({"tracker": tracker}, epochs=1, about=ABOUT)
    run = only_run(tracker)
    assert {"loss.name": "focal", "loss.gamma": 2.0, "version.torch": "2.13.0"}.items() <= run.config.items()
    assert (run.run.display_name, run.run.project, run.run.run_id) == ("run", "forestgaps", tracker.store.run_id)
    assert run.of("exit")[0].exit_code == 0


def test_scores_are_logged_each_epoch_and_those_of_a_threshold_under_the_score(
    make: Callable[..., Any], train: Callable[..., Any]
) -> None:
    tracker = make()
    trainer = train({"tracker": tracker}, epochs=2)
    run = only_run(tracker)
    assert [step for step, _ in run.curve("validation/gaps/gap_fraction/2m")] == [5, 10]
    for name, value in trainer.scores.items():
        assert run.curve(name.replace("@", "/"))[-1] == (10, pytest.approx(value)), name


def test_a_score_that_is_not_defined_stays_nan(make: Callable[..., Any], trainer: Any) -> None:
    tracker = make()
    tracker.fit_start(trainer)
    tracker.epoch_end(trainer, {"validation/gap_iou": float("nan")})
    tracker.store.close({}, failed=False)
    ((_, value),) = only_run(tracker).curve("validation/gap_iou")
    assert math.isnan(value)


def test_pictures_matrices_and_curves_are_logged_for_each_threshold(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, images=2, confusion=True, curves=True, images_every=2))
    train({"tracker": tracker}, epochs=2)
    run = only_run(tracker)
    for meters in (2, 5, 10):
        for name in (f"gaps_below_{meters}m/tile_1", f"gaps_below_{meters}m/tile_2", f"confusion/gaps_below_{meters}m"):
            ((step, path),) = run.curve(f"{name}.path")
            assert step == 10
            assert (run.folder / "files" / path).read_bytes().startswith(b"\x89PNG")
    ((_, path),) = run.curve("precision_recall/gaps_below_5m.path")
    table = json.loads((run.folder / "files" / path).read_text())
    assert table["columns"] == ["probability", "precision", "recall"]
    assert len(table["data"]) == 101
    assert table["data"][0][2] == 1, "whatever is a gap is found where everything is called one"


def test_histograms_are_logged_for_weights_and_gradients(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, histograms_every=2))
    train({"tracker": tracker}, epochs=2)
    run = only_run(tracker)
    assert [step for step, _ in run.curve("weights/layers.0.weight._type")] == [10]
    ((_, counts),) = run.curve("gradients/layers.0.weight.values")
    assert sum(counts) == 36


def test_run_file_versions_and_checkpoints_are_kept_with_the_run(
    make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    tracker = make(config=evolve(QUIET, checkpoints=True))
    (tmp_path / "run").mkdir()
    for name in ("run.toml", "versions.json"):
        (tmp_path / "run" / name).write_text("#")
    train({"tracker": tracker, "keep": CheckpointEachEpoch(tmp_path / "run" / "checkpoints")}, epochs=1)
    found = artifacts(only_run(tracker))
    assert {kind: [file.path for file in found[kind].manifest.contents] for kind in found} == {
        "settings": ["run.toml", "versions.json"],
        "checkpoints": ["best.safetensors", "last.safetensors"],
    }
    for artifact in found.values():
        for file in artifact.manifest.contents:
            assert Path(file.local_path).is_relative_to(tmp_path / "run"), "copies wait for their upload in the run folder"


def test_the_network_is_kept_with_its_last_scores(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=evolve(QUIET, model=True))
    trainer = train({"tracker": tracker}, epochs=1, about=ABOUT)
    model = artifacts(only_run(tracker))["model"]
    assert json.loads(model.metadata) == pytest.approx(trainer.scores)
    (file,) = model.manifest.contents
    state = load_checkpoint(Path(file.local_path))
    assert state["about"] == ABOUT
    kept = choose_weights(state)
    assert all(torch.equal(kept[name], tensor) for name, tensor in trainer.model.state_dict().items())


def test_a_resumed_run_continues_in_the_same_run_of_the_tracker(
    make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    keep = CheckpointAtStep(tmp_path / "seven.safetensors", 7)
    first, resumed = make(), make()
    train({"tracker": first, "keep": keep}, epochs=2)
    train({"tracker": resumed, "keep": keep}, epochs=2, resume=tmp_path / "seven.safetensors")
    runs = offline_runs(first.run_folder)
    assert [run.run.run_id for run in runs] == [first.store.run_id] * 2
    for name in ("steps/loss", "validation/loss", "validation/gaps/gap_fraction/2m"):
        whole = runs[0].curve(name)
        assert whole and whole[-1][0] == 10, "the first session reached the end"
        assert runs[1].curve(name) == [], "what is on disk is not logged again"


@pytest.mark.parametrize("key", [None, "0" * 40])
def test_without_a_log_in_or_a_server_the_run_is_logged_offline_and_reported_once(
    make: Callable[..., Any],
    train: Callable[..., Any],
    nobody: str,
    key: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = make(config=evolve(QUIET, mode="online", server=nobody, patience=1.0))
    trainer = train({"tracker": tracker}, epochs=2)
    plain = train({}, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), plain.model.parameters(), strict=True))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("callbacks.")]
    assert len(told) == 1
    assert ("NoLogInError" if key is None else "CommError") in told[0]
    assert [step for step, _ in only_run(tracker).curve("train/loss")] == [5, 10]


def test_a_client_that_fails_all_the_time_is_reported_once_and_training_continues(
    make: Callable[..., Any], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def fails(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("the service is gone")

    for name in ("init", "Image", "Artifact", "Table"):
        monkeypatch.setattr(wandb, name, fails)
    trainer = train({"tracker": make(config=WandbConfig(every=1, histograms_every=1))}, epochs=2)
    assert trainer.epoch == 2
    assert capsys.readouterr().err.count("the service is gone") == 1


def test_a_connection_lost_in_the_middle_is_reported_once_and_training_continues(
    make: Callable[..., Any], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    log, calls = wandb.Run.log, iter(range(1000))

    def fails_for_a_while(*arguments: Any, **named: Any) -> None:
        if 1 <= next(calls) < 4:
            raise ConnectionResetError("gone")
        log(*arguments, **named)

    monkeypatch.setattr(wandb.Run, "log", fails_for_a_while)
    tracker = make(config=evolve(QUIET, every=1))
    assert train({"tracker": tracker}, epochs=2).epoch == 2
    assert capsys.readouterr().err.count("gone") == 1
    assert [step for step, _ in only_run(tracker).curve("steps/loss")] == [1, 5, 6, 7, 8, 9, 10]


def test_a_run_that_ends_by_an_error_is_marked_as_failed(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    with pytest.raises(PluginError, match="disk"):
        train({"tracker": tracker, "fails": FailingCallback()})
    assert only_run(tracker).of("exit")[0].exit_code == 1


def test_disabled_keeps_nothing(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(config=WandbConfig(mode="disabled", every=1))
    train({"tracker": tracker}, epochs=1)
    assert offline_runs(tracker.run_folder) == []
    assert not tracker.guard.reported


def test_a_test_outside_of_training_is_not_drawn(tmp_path: Path, trainer: Any) -> None:
    tracker = WandbTracker(tmp_path)
    tracker.evaluation_start(trainer, "validation")
    assert tracker.plots is None


@pytest.mark.parametrize("run", ["../../x", "a/b", "", "x" * 65, "x\n", "<script>", 7, None])
def test_a_checkpoint_does_not_store_where_to_log(run, tmp_path):
    tracker = WandbTracker(tmp_path)
    good = tracker.state_dict()
    tracker.load_state_dict(good)
    with pytest.raises((ValueError, TypeError)):
        tracker.load_state_dict(good | {"run": run})


def test_values_of_other_callbacks_are_logged(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    train({"log": tracker, "number": LoggingCallback()}, epochs=1)
    logged = only_run(tracker)
    assert logged.curve("steps/number") == [(2, 1.5), (4, 3.5)]
    assert logged.curve("train/number") == [(5, 3.0)]
