from __future__ import annotations

import pytest

from forestgaps_schedulers.inverse_square_root import InverseSquareRoot


def test_the_schedule_of_the_transformer() -> None:
    """Vaswani et al. 2017, eq. 3, with 4,000 warm-up steps; their step_num counts from 1, and its peak is 4000^-0.5."""
    schedule = InverseSquareRoot(warmup=3999, timescale=4000).build(100_000)
    for step in range(0, 100_000, 37):
        number = step + 1
        paper = min(number**-0.5, number * 4000**-1.5)
        assert schedule(step) == pytest.approx(paper * 4000**0.5, rel=1e-12)


def test_after_three_timescales_it_is_at_half() -> None:
    assert InverseSquareRoot(warmup=0, timescale=0.1).build(1000)(300) == pytest.approx(0.5)
