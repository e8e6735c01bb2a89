from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forestgaps_callbacks import meter as module
from forestgaps_callbacks.meter import Meter, MeterConfig, measure_process_mb
from forestgaps_core.testing import check_callback


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_contract(tmp_path: Path) -> None:
    check_callback(MeterConfig(), tmp_path)


def test_training_and_validation_are_timed_separately(tmp_path: Path, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    meter = Meter(tmp_path / "meter.jsonl")
    meter.fit_start(trainer)
    meter.epoch_start(trainer)
    now, trainer.step = 10.0, 40
    meter.evaluation_start()
    now = 13.0
    meter.evaluation_end()
    now, trainer.epoch = 13.0, 1
    meter.epoch_end(trainer)
    (row,) = rows(meter.path)
    assert (row["seconds/train"], row["seconds/validation"], row["steps_per_second"]) == (10.0, 3.0, 4.0)
    assert row["memory/gpu_mb"] is None


def test_without_validation_its_time_is_not_defined(tmp_path: Path, trainer: Any) -> None:
    meter = Meter(tmp_path / "meter.jsonl")
    meter.fit_start(trainer)
    meter.epoch_start(trainer)
    trainer.epoch = 1
    meter.epoch_end(trainer)
    assert rows(meter.path)[0]["seconds/validation"] is None


def test_memory_of_the_process_is_in_megabytes() -> None:
    """torch alone takes more than 50 MB; a wrong unit would be off by a thousand."""
    found = measure_process_mb()
    assert found is None or 50 < found < 50_000


def test_a_real_run_leaves_a_row_an_epoch(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"meter": Meter(tmp_path / "m.jsonl")}, epochs=2)
    assert [row["epoch"] for row in rows(tmp_path / "m.jsonl")] == [1, 2]
