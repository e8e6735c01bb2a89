from __future__ import annotations

import pytest

from forestgaps_schedulers.warmup_cosine import WarmupCosine


def test_a_run_worked_by_hand() -> None:
    schedule = WarmupCosine(warmup=0.1).build(100)
    assert schedule(0) == pytest.approx(1 / 11)
    assert schedule(9) == pytest.approx(10 / 11)
    assert schedule(10) == 1
    assert schedule(55) == pytest.approx(0.5)  # half of the 90 steps that are left
    assert schedule(100) == pytest.approx(0)


def test_a_fraction_and_its_number_of_steps_are_the_same_warm_up() -> None:
    share, count_steps = WarmupCosine(warmup=0.05).build(400), WarmupCosine(warmup=20).build(400)
    assert [share(step) for step in range(401)] == [count_steps(step) for step in range(401)]
