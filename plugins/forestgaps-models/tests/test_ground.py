"""The filters on the device against the same filters in numpy and scipy."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch
from forestgaps_models.ground import (
    choose_cell_pixels,
    compute_low_percentile,
    estimate_ground_by_envelope,
    estimate_ground_by_opening,
    find_block_minima,
    smooth,
)


@pytest.fixture(scope="module")
def filters() -> Iterator[SimpleNamespace]:
    """With a Gaussian that knows nothing beyond the edge, where the filters repeat the outermost cell."""
    ndimage = pytest.importorskip("scipy.ndimage")
    baselines = pytest.importorskip("forestgaps_baselines")

    def smooth_known(channel: Any, sigma: float) -> Any:
        known = channel == channel
        parts = known.astype(float), np.where(known, channel, 0.0)
        weight, total = (ndimage.gaussian_filter(part, sigma, mode="constant") for part in parts)
        return np.where(weight > 1e-9, total / np.maximum(weight, 1e-9), np.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forestgaps_baselines.opening.smooth", smooth_known)
        patch.setattr("forestgaps_baselines.envelope.smooth", smooth_known)
        yield SimpleNamespace(opening=baselines.Opening().build(), envelope=baselines.Envelope(cell_m=4.0).build())


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), resolution=st.sampled_from([0.5, 1.0]))
def test_the_opening_is_that_of_the_classical_filter(filters: SimpleNamespace, seed: int, resolution: float) -> None:
    # Beside invalid pixels the two differ on purpose: there the filter takes a corner of a window for the whole.
    batch = example_batch(samples=1, size=93, seed=seed, nodata=0.0)
    found = estimate_ground_by_opening(batch.dsm, batch.valid, resolution)[0, 0]
    dsm = torch.where(batch.valid, batch.dsm, torch.nan)[0, 0].double().numpy()
    expected = torch.from_numpy(filters.opening(dsm, resolution))
    # Half a cell at the edge is extrapolated: here the mean of the cells beside it, there the outermost cell repeated.
    inside = slice(2, -4)
    torch.testing.assert_close(found[inside, inside].double(), expected[inside, inside], atol=5e-3, rtol=0)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_envelope_is_near_that_of_the_classical_filter(filters: SimpleNamespace, seed: int) -> None:
    """Near: numpy interpolates percentiles between ranks, which is not worth its price here."""
    batch = example_batch(samples=1, size=120, seed=seed)
    found = estimate_ground_by_envelope(batch.dsm, batch.valid, 1.0)[0, 0]
    dsm = torch.where(batch.valid, batch.dsm, torch.nan)[0, 0].double().numpy()
    difference = (found.double() - torch.from_numpy(filters.envelope(dsm, 1.0)))[batch.valid[0, 0]]
    assert difference.abs().mean() < 0.3


def test_no_ground_lies_above_the_surface() -> None:
    batch = example_batch(samples=2, size=50)
    for ground in (estimate_ground_by_opening, estimate_ground_by_envelope):
        assert (ground(batch.dsm, batch.valid, 1.0) <= batch.dsm).all()


def test_the_envelope_of_a_bare_slope_is_the_slope() -> None:
    slope = (torch.arange(200.0)[:, None] * 0.7 + torch.arange(200.0)[None, :] * 0.2 + 1500)[None, None]
    ground = estimate_ground_by_envelope(slope, torch.ones_like(slope, dtype=torch.bool), 1.0)
    middle = (slope - ground)[..., 80:120, 80:120]
    assert middle.max() < 5.0  # the lowest pixel of a 4 m cell, and the percentile


@pytest.mark.parametrize(
    ("meters", "resolution", "pixels"), [(2, 1.0, 2), (2, 0.75, 2), (2, 0.6, 4), (2, 0.1, 16), (2, 5.0, 1), (4, 0.3048, 16)]
)
def test_cells_are_powers_of_two_in_pixels(meters: float, resolution: float, pixels: int) -> None:
    assert choose_cell_pixels(meters, resolution) == pixels


def test_minima_of_blocks_skip_invalid_pixels() -> None:
    surface = torch.arange(16.0).reshape(1, 1, 4, 4)
    valid = surface > 1
    minima, known = find_block_minima(surface, valid, 2)
    assert minima.flatten().tolist() == [4.0, 2.0, 8.0, 10.0]
    assert known.all()
    _, known = find_block_minima(surface, surface > 5, 2)
    assert known.flatten().tolist() == [False, True, True, True]


def test_a_percentile_counts_known_cells_only() -> None:
    cells = torch.arange(9.0).reshape(1, 1, 3, 3)
    known = cells != 0
    assert compute_low_percentile(cells, known, 3, 0.0)[0, 0, 1, 1] == 1.0
    assert compute_low_percentile(cells, known, 3, 100.0)[0, 0, 1, 1] == 8.0
    assert compute_low_percentile(cells, cells < 0, 3, 50.0).abs().max() == 0.0


def test_a_mean_of_one_value_is_that_value() -> None:
    cells = torch.full((1, 1, 9, 9), 1234.5)
    known = torch.rand(cells.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    torch.testing.assert_close(smooth(cells, known, 2.0), cells)
