from __future__ import annotations

import pytest

from forestgaps_schedulers.exponential import Exponential


def test_half_way_it_is_at_the_geometric_mean() -> None:
    schedule = Exponential(floor=0.01).build(200)
    assert [schedule(step) for step in (0, 50, 100, 200)] == pytest.approx([1, 0.01**0.25, 0.1, 0.01])


def test_every_step_loses_the_same_share() -> None:
    schedule = Exponential(floor=0.001).build(77)
    shares = [schedule(step + 1) / schedule(step) for step in range(77)]
    assert shares == pytest.approx([shares[0]] * 77)
