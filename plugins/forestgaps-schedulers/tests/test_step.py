from __future__ import annotations

import pytest

from forestgaps_schedulers.step import Step


def test_a_tenth_after_each_thirty_of_ninety_epochs() -> None:
    """The usual run of a ResNet on ImageNet: 0.1, 0.01, 0.001."""
    schedule = Step(every=30, factor=0.1).build(90)
    assert [0.1 * schedule(epoch) for epoch in (0, 29, 30, 59, 60, 89)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_stair_is_never_shorter_than_a_step() -> None:
    assert Step(every=0.001, factor=0.5).build(10)(3) == 0.125
