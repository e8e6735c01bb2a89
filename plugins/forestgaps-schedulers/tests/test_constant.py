from __future__ import annotations

from forestgaps_schedulers.constant import Constant


def test_the_base_rate_is_left_alone() -> None:
    assert {Constant().build(50)(step) for step in range(60)} == {1.0}
