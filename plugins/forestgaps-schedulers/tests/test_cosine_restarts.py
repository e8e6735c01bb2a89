from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_schedulers.cosine_restarts import CosineRestarts, place_restarts


def test_the_restarts_of_the_paper() -> None:
    """T_0 = 10 and T_mult = 2 restart after 10, 30 and 70 epochs (Loshchilov & Hutter 2017, section 4.1)."""
    assert place_restarts(150, cycles=4, growth=2) == (0, 10, 30, 70, 150)
    schedule = CosineRestarts(cycles=4, growth=2).build(150)
    assert [schedule(epoch) for epoch in (0, 5, 10, 20, 30, 50, 70, 110)] == pytest.approx([1, 0.5] * 4)


def test_just_before_a_restart_it_is_near_the_floor_and_at_it_in_the_end() -> None:
    schedule = CosineRestarts(cycles=2, growth=1, floor=0.1).build(2000)
    assert schedule(999) == pytest.approx(0.1, abs=1e-5)
    assert schedule(1000) == 1
    assert schedule(2000) == 0.1


@settings(deadline=None)
@given(length=st.integers(1, 10_000), cycles=st.integers(1, 100), growth=st.floats(1, 10))
def test_the_cycles_fill_the_run_and_grow(length: int, cycles: int, growth: float) -> None:
    joints = place_restarts(length, cycles=cycles, growth=growth)
    assert joints[0] == 0
    assert joints[-1] == length
    lengths = [end - start for start, end in pairwise(joints)]
    assert min(lengths) >= 0
    assert all(late >= early * growth - growth - 1 for early, late in pairwise(lengths))  # joints are rounded by up to 1/2
