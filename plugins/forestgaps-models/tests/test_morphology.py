from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_models.morphology import (
    COLUMNS,
    ROWS,
    compute_local_mean,
    compute_window_minimum,
    compute_window_sum,
    dilate,
    erode,
    open_surface,
)

np = pytest.importorskip("numpy")
ndimage = pytest.importorskip("scipy").ndimage

ALL = torch.ones(1, 1, 40, 53, dtype=torch.bool)


def surface(seed: int = 0, rows: int = 40, columns: int = 53) -> torch.Tensor:
    return torch.rand((1, 1, rows, columns), generator=torch.Generator().manual_seed(seed)) * 40


def slow_opening(z: np.ndarray, valid: np.ndarray, size: int) -> np.ndarray:
    low = ndimage.minimum_filter(np.where(valid, z, np.inf), size=size, mode="nearest")
    return ndimage.maximum_filter(np.where(valid, low, -np.inf), size=size, mode="nearest")


@settings(deadline=None)
@given(size=st.integers(0, 70).map(lambda half: 2 * half + 1))
def test_window_minima_and_sums_are_those_of_scipy_at_any_odd_width(size: int) -> None:
    z = surface()
    array = z[0, 0].double().numpy()
    for dim, axis in ((ROWS, 0), (COLUMNS, 1)):
        expected = ndimage.minimum_filter1d(array, size, axis=axis, mode="nearest")
        assert np.array_equal(compute_window_minimum(z, size, dim)[0, 0].numpy(), expected.astype(np.float32))
        total = ndimage.convolve1d(array, np.ones(size), axis=axis, mode="constant")
        np.testing.assert_allclose(compute_window_sum(z.double(), size, dim)[0, 0].numpy(), total, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("size", [1, 3, 7, 15, 31, 61, 121])
def test_an_opening_is_exactly_that_of_scipy(size: int) -> None:
    z = surface()
    array = z[0, 0].numpy()
    assert np.array_equal(open_surface(z, ALL, size)[0, 0].numpy(), ndimage.grey_opening(array, size=(size, size), mode="nearest"))
    assert np.array_equal(erode(z, size)[0, 0].numpy(), ndimage.grey_erosion(array, size=(size, size), mode="nearest"))
    assert np.array_equal(dilate(z, size)[0, 0].numpy(), ndimage.grey_dilation(array, size=(size, size), mode="nearest"))


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([3, 5, 9, 21]), share=st.floats(0, 1))
def test_invalid_pixels_take_no_part_in_an_opening(seed: int, size: int, share: float) -> None:
    z = surface(seed)
    valid = torch.rand(z.shape, generator=torch.Generator().manual_seed(seed + 1)) >= share
    found = open_surface(torch.where(valid, z, -1e4), valid, size)
    assert np.array_equal(found[0, 0].numpy(), slow_opening(z[0, 0].numpy(), valid[0, 0].numpy(), size))
    assert (found[valid] <= z[valid]).all()


def test_opening_twice_changes_nothing_more() -> None:
    once = open_surface(surface(), ALL, 9)
    assert torch.equal(open_surface(once, ALL, 9), once)


def test_opening_cuts_off_what_is_narrower_than_the_window_and_keeps_the_rest() -> None:
    z = torch.zeros(1, 1, 20, 20)
    z[..., 2:5, 2:5] = 12.0  # a crown of 3 pixels
    z[..., 10:17, 10:17] = 8.0  # a stand of 7
    found = open_surface(z, torch.ones_like(z, dtype=torch.bool), 5)
    assert found[..., 2:5, 2:5].max() == 0
    assert torch.equal(found[..., 10:17, 10:17], z[..., 10:17, 10:17])


@pytest.mark.parametrize("elevation", [0.0, 2550.0])
def test_the_local_mean_is_the_plain_mean_of_valid_pixels_also_high_up(elevation: float) -> None:
    z = surface(rows=17, columns=19) + elevation
    valid = torch.rand(z.shape, generator=torch.Generator().manual_seed(3)) > 0.5
    found = compute_local_mean(torch.where(valid, z, -9999.0), valid, 5)
    for row in range(17):
        for column in range(19):
            square = (..., slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3))
            inside = z[square][valid[square]].double()
            expected = inside.mean().item() if len(inside) else 0.0
            assert found[0, 0, row, column].item() == pytest.approx(expected, abs=1e-3)
