from __future__ import annotations

import pytest

from forestgaps_schedulers.spans import count_steps


@pytest.mark.parametrize(("span", "expected"), [(0, 0), (0.05, 10), (0.5, 100), (1, 1), (1.0, 1), (150, 150), (0.0124, 2)])
def test_below_one_it_is_a_share_and_from_one_on_steps(span: float, expected: int) -> None:
    assert count_steps(span, 200) == expected
