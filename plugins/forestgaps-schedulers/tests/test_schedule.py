from __future__ import annotations

import pytest

from forestgaps_schedulers.schedule import Schedule, compute_warmup, count_warmup_steps


def test_the_rise_worked_by_hand() -> None:
    assert [compute_warmup(step, 4) for step in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_without_a_warm_up_nothing_is_held_back() -> None:
    assert compute_warmup(0, 0) == 1


@pytest.mark.parametrize("total", [1, 2, 3, 10, 1000])
def test_a_share_leaves_at_least_a_step_after_the_warm_up(total: int) -> None:
    assert 0 <= count_warmup_steps(0.9999, total) == total - 1


def test_the_shape_sees_the_steps_since_the_warm_up_within_the_run() -> None:
    schedule = Schedule(float, warmup_steps=3, total=10)
    assert [schedule.count_steps_since_warmup(step) for step in (0, 3, 4, 10, 99)] == [0, 0, 1, 7, 7]
    assert [schedule(step) for step in (3, 4, 10, 99)] == [0, 1, 7, 7]
