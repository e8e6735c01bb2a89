from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forestgaps_callbacks import time_limit as module
from forestgaps_callbacks.time_limit import TimeLimit, TimeLimitConfig
from forestgaps_core.testing import check_callback, check_config


class Clock:
    now = 500.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    return made


def test_contract(tmp_path: Path) -> None:
    check_callback(TimeLimitConfig(minutes=5.0), tmp_path)
    check_config(TimeLimitConfig(minutes=5.0, whole_run=True))


def test_training_stops_when_the_minutes_are_over_and_can_be_resumed(clock: Clock, trainer: Any) -> None:
    budget = TimeLimit(minutes=2.0)
    budget.fit_start()
    clock.now += 119
    budget.step_end(trainer)
    assert trainer.stopped is None
    clock.now += 1
    budget.step_end(trainer)
    assert trainer.stopped == "the time limit of 2 min is used up"
    assert trainer.final is False


def test_each_session_has_the_whole_budget(clock: Clock, trainer: Any) -> None:
    first, second = TimeLimit(minutes=2.0), TimeLimit(minutes=2.0)
    first.fit_start()
    clock.now += 100
    second.load_state_dict(first.state_dict())
    second.fit_start()
    clock.now += 100
    second.step_end(trainer)
    assert trainer.stopped is None


def test_the_budget_of_a_whole_run_counts_earlier_sessions_and_is_final(clock: Clock, trainer: Any) -> None:
    first, second = TimeLimit(minutes=2.0, whole_run=True), TimeLimit(minutes=2.0, whole_run=True)
    first.fit_start()
    clock.now += 100
    state = first.state_dict()
    clock.now += 10_000  # between the sessions
    second.load_state_dict(state)
    second.fit_start()
    clock.now += 19
    second.step_end(trainer)
    assert trainer.stopped is None
    clock.now += 1
    second.epoch_end(trainer)
    assert trainer.final is True


def test_another_reason_to_stop_is_not_overwritten(clock: Clock, trainer: Any) -> None:
    budget = TimeLimit(minutes=1.0)
    budget.fit_start()
    clock.now += 100
    trainer.stop("early")
    budget.step_end(trainer)
    assert trainer.stopped == "early"
