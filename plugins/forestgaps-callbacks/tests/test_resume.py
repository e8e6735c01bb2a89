"""Every callback of the package in one run, killed in the middle of an epoch and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_callbacks.activations import ActivationsConfig
from forestgaps_callbacks.checkpoints import CheckpointsConfig
from forestgaps_callbacks.confusion_pictures import ConfusionPicturesConfig
from forestgaps_callbacks.csv_log import CsvLogConfig
from forestgaps_callbacks.divergence_guard import DivergenceGuardConfig
from forestgaps_callbacks.early_stopping import EarlyStoppingConfig
from forestgaps_callbacks.ema_weights import EmaWeightsConfig
from forestgaps_callbacks.json_lines import JsonLinesConfig
from forestgaps_callbacks.meter import MeterConfig
from forestgaps_callbacks.monitor import MonitorConfig
from forestgaps_callbacks.pictures import PicturesConfig
from forestgaps_callbacks.progress import ProgressConfig
from forestgaps_callbacks.remote_control import RemoteControlConfig
from forestgaps_callbacks.restore_best import RestoreBestConfig
from forestgaps_callbacks.time_limit import TimeLimitConfig
from forestgaps_core import hookimpl
from forestgaps_core.testing import build_component

CONFIGS = {
    "progress": ProgressConfig(),
    "log": JsonLinesConfig(every=2),
    "table": CsvLogConfig(every=3),
    "monitor": MonitorConfig(every=4),
    "meter": MeterConfig(),
    "averaged": EmaWeightsConfig(decay=0.9),
    "best": RestoreBestConfig(score="validation/loss", mode="min"),
    "checkpoints": CheckpointsConfig(score="validation/loss", mode="min", best=2, every_steps=7),
    "early": EarlyStoppingConfig(score="validation/loss", mode="min", patience=2),
    "divergence_guard": DivergenceGuardConfig(every=3, action="roll_back"),
    "time_limit": TimeLimitConfig(minutes=60.0),
    "remote_control": RemoteControlConfig(),
    "pictures": PicturesConfig(tiles=1, every=3),
    "confusion": ConfusionPicturesConfig(every=3),
    "maps": ActivationsConfig(layers=("layers.0",), every=3),
}


class Kill:
    """Raises in the middle of an epoch, just after a checkpoint."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        if trainer.step == self.step:
            raise KeyboardInterrupt


class Logs:
    """Logs the number of the step, and after each epoch the number of the epoch."""

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        trainer.log("steps", torch.tensor(float(trainer.step)))

    @hookimpl
    def epoch_end(self, trainer: Any) -> None:
        trainer.log("epochs", trainer.epoch)


def same(one: Any, other: Any, place: str = "") -> None:
    if isinstance(one, Mapping):
        assert one.keys() == other.keys(), place
        for key in one:
            same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), place
        for key, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{place}.{key}")
    else:
        assert one == other, place


@pytest.mark.parametrize("resumes", [1, 2])
def test_a_run_with_every_callback_resumes_bit_for_bit(tmp_path: Path, train: Callable[..., Any], resumes: int) -> None:
    def callbacks(folder: Path, kill: int | None) -> dict[str, object]:
        made = {label: build_component("callbacks", config, run_folder=folder, label=label) for label, config in CONFIGS.items()}
        return made | {"values": Logs(), "kill": Kill(kill)}

    whole = train(callbacks(tmp_path / "whole", None), epochs=3)
    resumed = None
    for place in range(resumes):
        with pytest.raises(KeyboardInterrupt):
            train(callbacks(tmp_path / "killed", 8 + place), epochs=3, resume=resumed)
        resumed = tmp_path / "killed" / "checkpoints" / "last.safetensors"
    killed = train(callbacks(tmp_path / "killed", None), epochs=3, resume=resumed)
    same(whole.state_dict(), killed.state_dict())
    for name in ("log.jsonl", "table_steps.csv", "table_epochs.csv", "monitor.jsonl"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "killed" / name).read_text(), name
    header, first, *_ = (tmp_path / "killed" / "table_steps.csv").read_text().splitlines()
    assert header.endswith(",train/steps")
    assert first.endswith(",2.0"), "the mean of steps 1, 2 and 3"
    header, *_, last = (tmp_path / "killed" / "table_epochs.csv").read_text().splitlines()
    logged = dict(zip(header.split(","), last.split(","), strict=True))
    assert (logged["train/steps"], logged["train/epochs"]) == ("13.0", "3.0")
    assert '"train/steps": 1.5' in (tmp_path / "killed" / "log.jsonl").read_text()
    files = [sorted(p.relative_to(tmp_path / run).as_posix() for p in (tmp_path / run).rglob("*")) for run in ("whole", "killed")]
    assert files[0] == files[1]


def test_watching_changes_no_weight(tmp_path: Path, train: Callable[..., Any]) -> None:
    watchers = {label: config for label, config in CONFIGS.items() if label not in ("best", "early")}
    watched = train(
        {label: build_component("callbacks", config, run_folder=tmp_path, label=label) for label, config in watchers.items()}
    )
    plain = train({})
    same(watched.model.state_dict(), plain.model.state_dict())
