from __future__ import annotations

import pytest

from forestgaps_schedulers.cosine import Cosine


def test_half_way_it_is_half_way_down() -> None:
    assert Cosine(floor=0.2).build(1000)(500) == pytest.approx(0.6)


def test_after_a_third_it_has_lost_a_quarter() -> None:
    assert Cosine().build(300)(100) == pytest.approx(0.75)  # (1 + cos 60 degrees) / 2


def test_it_does_not_climb_again_past_the_end() -> None:
    schedule = Cosine(floor=0.1).build(100)
    assert schedule(100) == schedule(150) == schedule(200) == pytest.approx(0.1)
