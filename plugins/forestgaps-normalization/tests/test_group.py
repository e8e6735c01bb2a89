from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_normalization.group import GroupNormConfig, choose_groups


@pytest.mark.parametrize(
    ("channels", "groups", "expected"), [(16, 8, 8), (12, 8, 6), (13, 8, 1), (4, 8, 4), (1, 8, 1), (30, 7, 6), (48, 32, 24)]
)
def test_groups_worked_by_hand(channels: int, groups: int, expected: int) -> None:
    assert choose_groups(channels, groups) == expected
    assert GroupNormConfig(groups=groups).build()(channels).num_groups == expected


@settings(deadline=None)
@given(channels=st.integers(1, 500), groups=st.integers(1, 500))
def test_no_larger_number_of_groups_would_do(channels: int, groups: int) -> None:
    found = choose_groups(channels, groups)
    assert channels % found == 0
    assert found <= groups
    assert not any(channels % more == 0 for more in range(found + 1, groups + 1))


def test_it_is_the_formula() -> None:
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1
    y = GroupNormConfig(groups=3).build()(6)(x)
    for b in range(2):
        for group in range(3):
            pixels = [x[b, 2 * group + c, i, j].item() for c in range(2) for i in range(3) for j in range(4)]
            mean = sum(pixels) / 24
            variance = sum((pixel - mean) ** 2 for pixel in pixels) / 24
            expected = [(pixel - mean) / (variance + 1e-5) ** 0.5 for pixel in pixels]
            assert y[b, 2 * group : 2 * group + 2].flatten().tolist() == pytest.approx(expected, abs=1e-5)
