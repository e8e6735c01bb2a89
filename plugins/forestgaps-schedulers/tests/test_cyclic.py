from __future__ import annotations

import pytest

from forestgaps_schedulers.cyclic import Cyclic

SMITH = {"cycles": 2, "floor": 0.001 / 0.006}


def rates(peaks: str, *iterations: int, decay: float = 1.0) -> list[float]:
    schedule = Cyclic(peaks=peaks, decay=decay, **SMITH).build(8000)
    return [0.006 * schedule(iteration) for iteration in iterations]


def test_the_triangles_of_the_paper() -> None:
    """CIFAR-10: stepsize 2000, from 0.001 to 0.006 (Smith 2017, section 4.1)."""
    assert rates("triangular", 0, 1000, 2000, 3000, 4000, 6000, 8000) == pytest.approx(
        [0.001, 0.0035, 0.006, 0.0035, 0.001, 0.006, 0.001]
    )


def test_triangular2_halves_the_height_with_each_cycle() -> None:
    assert rates("triangular2", 2000, 4000, 6000) == pytest.approx([0.006, 0.001, 0.0035])


def test_exp_range_fades_with_every_step() -> None:
    assert rates("exp_range", 2000, 6000, decay=0.0625) == pytest.approx([0.001 + 0.005 / 2, 0.001 + 0.005 / 8])


def test_the_run_ends_at_the_foot_of_the_last_triangle() -> None:
    schedule = Cyclic(cycles=3, floor=0.2).build(100)
    assert schedule(100) == schedule(1000) == pytest.approx(0.2)
