from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forestgaps_callbacks.monitor import Monitor, MonitorConfig, measure_gradient_norm, read_rates
from forestgaps_core.testing import check_callback


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_contract(tmp_path: Path) -> None:
    check_callback(MonitorConfig(every=7), tmp_path)


def test_a_row_has_mean_and_largest_norm_and_the_share_of_clipped_steps(tmp_path: Path, trainer: Any) -> None:
    monitor = Monitor(tmp_path / "monitor.jsonl", every=4)
    monitor.fit_start(trainer)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1, momentum=0.9)
    trainer.max_gradient_norm = 1.0
    for trainer.step, norm in enumerate([0.5, 2.0, 0.5, 5.0, 9.0], start=1):
        trainer.gradient_norm = torch.tensor(norm)
        monitor.step_end(trainer)
    assert rows(monitor.path) == [
        {"row": "step", "step": 4, "epoch": 0, "rate/0": 0.1, "momentum/0": 0.9}
        | {"gradient_norm/mean": 2.0, "gradient_norm/max": 5.0, "clipped": 0.5}
    ]


def test_every_parameter_group_has_its_rate_and_first_beta(trainer: Any) -> None:
    weight, bias = trainer.model.parameters()
    trainer.optimizer = torch.optim.AdamW([{"params": [weight], "lr": 1e-3}, {"params": [bias], "lr": 1e-4}], betas=(0.8, 0.99))
    assert read_rates(trainer) == {"rate/0": 1e-3, "momentum/0": 0.8, "rate/1": 1e-4, "momentum/1": 0.8}


def test_where_the_trainer_does_not_clip_the_norm_is_measured_here(trainer: Any) -> None:
    for place, parameter in enumerate(trainer.model.parameters()):
        parameter.grad = torch.full_like(parameter, 3.0 + place)
    assert math.isclose(measure_gradient_norm(trainer).item(), 5.0)


def test_a_real_run_leaves_a_row_an_interval(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"monitor": Monitor(tmp_path / "m.jsonl", every=5)}, epochs=2)
    assert [row["step"] for row in rows(tmp_path / "m.jsonl")] == [5, 10]
    assert all(0 < row["gradient_norm/mean"] <= row["gradient_norm/max"] for row in rows(tmp_path / "m.jsonl"))
