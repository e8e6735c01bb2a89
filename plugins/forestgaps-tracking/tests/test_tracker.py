from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_core.errors import PluginError
from forestgaps_core.testing import check_callback
from forestgaps_tracking.testing import (
    NO_PLOTS_NO_FILES,
    CheckpointAtStep,
    FailingCallback,
    PausingCallback,
    check_reads_device_only_at_intervals,
)

sys.path.insert(0, str(Path(__file__).parent))  # tests are not a package
from stores import ListConfig, ListTracker

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ListTracker]:
    def build(**settings: Any) -> ListTracker:
        return ListConfig(**settings).build(run_folder=tmp_path, label="log")

    return build


def test_contract(tmp_path: Path) -> None:
    check_callback(ListConfig(every=7, images=2, images_every=3), tmp_path)


def test_service_tracker_logs_every_event_in_order(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(every=5, images=1, images_every=2)
    trainer = train({"log": tracker}, epochs=2)
    assert tracker.store.kinds() == [
        *("open", "steps", "scores"),
        *("steps", "pictures", "pictures", "curves", "scores"),
        *("checkpoints", "network", "close"),
    ]
    logged = {what[0]: what[1:] for what in tracker.store.logged}
    meters = (2, 5, 10)
    tiles, matrices = (what for what in tracker.store.logged if what[0] == "pictures")
    assert tiles == ("pictures", 10, [f"gaps_below_{m}m/tile_1" for m in meters])
    assert matrices == ("pictures", 10, [f"confusion/gaps_below_{m}m" for m in meters])
    assert logged["scores"] == (10, trainer.scores)
    assert logged["network"] == (10, trainer.scores)
    assert logged["close"] == (False, True)


def test_service_tracker_without_plots_and_files_logs_scalars_only(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(every=5, **NO_PLOTS_NO_FILES)
    train({"log": tracker}, epochs=1)
    found = [what for what in tracker.store.logged if what[0] in ("pictures", "curves")]
    assert all(names == [] for _, _, names in found)
    assert set(tracker.store.kinds()) == {"open", "steps", "scores", "pictures", "curves", "close"}


def test_service_tracker_whose_store_fails_lets_training_continue_and_reports_once(
    make: Callable[..., Any], train: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = make(every=2)
    tracker.store.fails = {"open", "steps", "scores", "pictures", "curves", "checkpoints", "network", "close"}
    trained, plain = train({"log": tracker}, epochs=2), train({}, epochs=2)
    assert trained.epoch == 2 and tracker.store.logged == []
    assert all(torch.equal(a, b) for a, b in zip(trained.model.parameters(), plain.model.parameters(), strict=True))
    assert capsys.readouterr().err.splitlines() == [
        "callbacks.log: ConnectionError: open: no route to host; training continues, its log may have gaps"
    ]


def test_service_tracker_closes_although_the_files_could_not_be_logged(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make()
    tracker.store.fails = {"checkpoints"}
    train({"log": tracker}, epochs=1)
    assert tracker.store.kinds()[-1] == "close"
    assert "network" not in tracker.store.kinds()


def test_run_that_fails_is_closed_as_failed_without_its_network(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(**NO_PLOTS_NO_FILES | {"model": True})
    with pytest.raises(PluginError, match="disk"):
        train({"log": tracker, "fails": FailingCallback()})
    assert tracker.store.logged[-1] == ("close", True, False)
    assert "network" not in tracker.store.kinds()


def test_run_that_is_paused_is_not_complete(make: Callable[..., Any], train: Callable[..., Any]) -> None:
    tracker = make(**NO_PLOTS_NO_FILES | {"model": True})
    train({"log": tracker, "pauses": PausingCallback()})
    assert tracker.store.logged[-1] == ("close", False, False)
    assert "network" not in tracker.store.kinds()


def test_interval_of_a_resumed_run_continues(make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path) -> None:
    whole, resumed = make(every=4), make(every=4)
    keep = CheckpointAtStep(tmp_path / "seven.safetensors", 7)
    train({"log": whole, "keep": keep}, epochs=2)
    train({"log": resumed, "keep": keep}, epochs=2, resume=tmp_path / "seven.safetensors")
    steps = [what for what in whole.store.logged if what[0] == "steps"]
    assert [step for _, step, _ in steps] == [4, 8]
    assert [what for what in resumed.store.logged if what[0] == "steps" and what[1] == 8] == steps[1:]


def test_tracker_reads_the_device_at_the_end_of_an_interval_only(make: Callable[..., Any], trainer: Any) -> None:
    class Eager(ListTracker):
        def log_scalars(self, values: Any, step: int, *, end_of_epoch: bool) -> None:
            raise AssertionError("nothing can be read from the device `meta`")

    tracker = make(every=100)
    check_reads_device_only_at_intervals(Eager(tracker.config, tracker.run_folder, "log"), trainer)
    with pytest.raises(NotImplementedError):
        check_reads_device_only_at_intervals(make(every=50), trainer)
    with pytest.raises(AssertionError, match="was not read"):
        check_reads_device_only_at_intervals(make(every=200), trainer)


@pytest.mark.parametrize("split", ["test", "train"])
def test_other_splits_and_evaluations_outside_of_training_have_no_plots(make: Callable[..., Any], trainer: Any, split: str) -> None:
    tracker = make()
    tracker.evaluation_start(trainer, "validation")
    assert tracker.plots is None
    tracker.fit_start(trainer)
    tracker.evaluation_start(trainer, split)
    assert tracker.plots is None
    tracker.evaluation_start(trainer, "validation")
    assert tracker.plots is not None


def test_tracker_of_the_readme_prints_a_run(train: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    from forestgaps_tracking.tracker import TrackerSettings

    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, str(README), "exec"), names)
    train({"print": names["PrintTracker"](TrackerSettings(images=1, every=5))}, epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "start at step 0" and lines[-1] == "end"
    assert "5 gaps_below_2m/tile_1 (3, 16, 76)" in lines
