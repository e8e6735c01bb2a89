from __future__ import annotations

import pytest

from forestgaps_schedulers.polynomial import Polynomial


def test_the_poly_policy_half_way() -> None:
    assert Polynomial(power=0.9).build(20_000)(10_000) == pytest.approx(0.535887, abs=1e-6)  # (1 - 10000 / 20000)^0.9


def test_power_one_is_a_straight_line_to_the_floor() -> None:
    schedule = Polynomial(power=1.0, floor=0.2).build(8)
    assert [schedule(step) for step in range(9)] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])


def test_power_two_has_lost_three_quarters_half_way() -> None:
    assert Polynomial(power=2.0).build(10)(5) == pytest.approx(0.25)
