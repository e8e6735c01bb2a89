from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_rasters.blending import Axis, blended, ramp, starts


def local(surface: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Two planes that depend on a pixel's own value only."""
    low = np.where(valid, 1 / (1 + np.exp(-np.nan_to_num(surface) / 50)), 0).astype(np.float32)
    return np.stack([low, low**2], axis=1)


def whole(surface: np.ndarray, predict=local, **options) -> np.ndarray:
    rows, columns = surface.shape
    out = np.full((2, rows, columns), np.nan, np.float32)
    following = 0
    settings_ = {"window": 64, "overlap": 16, "batch": 3} | options

    def read(start: int, count: int) -> np.ndarray:
        return surface[start : start + count]

    for strip in blended(read, predict, rows=rows, columns=columns, planes=2, **settings_):
        assert strip.row == following, "strips follow each other"
        following += strip.surface.shape[0]
        assert np.array_equal(strip.surface, surface[strip.row : following], equal_nan=True)
        out[:, strip.row : following] = strip.probabilities
    assert following == rows
    return out


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    window=st.integers(32, 80),
    share=st.floats(0, 0.5),
    batch=st.integers(1, 5),
    holes=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 1000),
)
def test_what_depends_on_a_pixel_alone_shows_no_seam(rows, columns, window, share, batch, holes, seed) -> None:
    random = np.random.default_rng(seed)
    surface = random.normal(0, 60, (rows, columns)).astype(np.float32)
    surface[random.random(surface.shape) < holes] = np.nan
    valid = np.isfinite(surface)
    found = whole(surface, window=window, overlap=int(share * window), batch=batch)
    expected = local(surface[None], valid[None])[0]
    assert np.abs(found - expected)[:, valid].max(initial=0) < 2e-6


def test_a_step_between_windows_is_spread_over_the_overlap() -> None:
    """Each window says its own constant, the hardest case there is: neighbours may differ little from pixel to pixel."""
    surface = np.zeros((256, 256), np.float32)
    turn = iter(range(10**6))

    def moody(some: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return np.stack([np.full((2, *some.shape[1:]), next(turn) % 2, np.float32) for _ in some])

    found = whole(surface, moody, overlap=32)
    steps = max(np.abs(np.diff(found, axis=1)).max(), np.abs(np.diff(found, axis=2)).max())
    assert found.min() < 0.01
    assert found.max() > 0.99
    assert steps < np.pi / 2 / 32 + 1e-4  # the steepest slope of sin^2 over 32 pixels, from 0 to 1 and no more


def test_windows_without_data_are_not_asked() -> None:
    surface = np.full((64, 640), np.nan, np.float32)
    surface[:, 600:] = 5
    asked = []

    def counting(some: np.ndarray, valid: np.ndarray) -> np.ndarray:
        asked.append(len(some))
        return local(some, valid)

    whole(surface, counting)
    assert sum(asked) == 1


def test_memory_is_that_of_a_strip_however_tall_the_raster() -> None:
    def largest(rows: int) -> int:
        def read(start: int, count: int) -> np.ndarray:
            return np.ones((count, 300), np.float32)

        tracemalloc.start()
        for _ in blended(read, local, rows=rows, columns=300, planes=2, window=64, overlap=16, batch=2):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    largest(100)
    assert largest(16_000) < 1.3 * largest(500), "32 times the rows"


def test_windows_reach_the_end_and_no_further() -> None:
    assert starts(100, 64, 48) == [0, 36]
    assert starts(64, 64, 48) == starts(10, 64, 48) == [0]
    assert starts(160, 64, 48) == [0, 48, 96]


def test_two_ramps_make_one_over_the_overlap() -> None:
    weight = ramp(64, 16)
    assert weight.min() > 0
    assert np.allclose(weight[:16] + weight[-16:], 1)
    assert (ramp(64, 0) == 1).all()


@pytest.mark.parametrize(("extent", "size", "padded"), [(10, 32, 32), (33, 64, 64), (100, 64, 100)])
def test_a_raster_smaller_than_a_window_is_filled_up(extent, size, padded) -> None:
    axis = Axis.over(extent, 64, 16)
    assert (axis.size, axis.extent) == (size, padded)
    assert len(axis.total) == padded
