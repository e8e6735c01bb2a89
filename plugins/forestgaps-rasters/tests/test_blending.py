from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_rasters.prediction.blending import FULL_WEIGHT, NODATA, assemble_strips, blend_values, compute_blend_weights
from forestgaps_rasters.prediction.window_grid import WindowGrid


def whole(window_grid: WindowGrid, block, planes: int = 2) -> np.ndarray:
    out = np.full((planes, window_grid.down.extent, window_grid.right.extent), NODATA, np.uint8)
    following = 0
    for strip in assemble_strips(window_grid, planes, block):
        assert strip.row == following, "strips follow each other"
        following += strip.rows
        done = 0
        for piece in strip.pieces:
            assert piece.column >= done, "pieces follow each other"
            assert piece.values.shape[:2] == (planes, strip.rows)
            done = piece.column + piece.values.shape[2]
            out[:, strip.row : following, piece.column : done] = piece.values
    assert following == window_grid.down.extent
    return out


def cut_from(truth: np.ndarray, window_grid: WindowGrid):
    """Blocks that all say the truth; None where there is nothing but nodata."""

    def block(item):
        (top, bottom), (left, right) = window_grid.down.get_kept_range(item[0]), window_grid.right.get_kept_range(item[1])
        values = truth[:, top:bottom, left:right]
        return None if (values == NODATA).all() else values

    return block


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 400),
    columns=st.integers(1, 400),
    sizes=st.sampled_from([(64, 0), (128, 0), (128, 64), (192, 64), (256, 128)]),
    holes=st.sampled_from([0.0, 0.1, 0.9999]),
    seed=st.integers(0, 1000),
)
def test_where_blocks_agree_the_raster_is_what_they_say(rows, columns, sizes, holes, seed) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 251, (2, rows, columns)).astype(np.uint8)
    truth[:, random.random((rows, columns)) < holes] = NODATA
    window_grid = WindowGrid.create(rows, columns, *sizes)
    assert np.array_equal(whole(window_grid, cut_from(truth, window_grid)), truth)


def test_a_step_between_blocks_is_spread_over_the_feather() -> None:
    """Each block says its own constant, the hardest case there is: neighbors may differ little from pixel to pixel."""
    window_grid = WindowGrid.create(900, 900, 512, 256)

    def moody(item):
        return np.full((2, *window_grid.shape(item)), 250 * (sum(item) % 2), np.uint8)

    found = whole(window_grid, moody).astype(int)
    steps = max(np.abs(np.diff(found, axis=1)).max(), np.abs(np.diff(found, axis=2)).max())
    assert (found.min(), found.max()) == (0, 250)
    assert steps <= 250 * np.pi / 2 / 64 + 1, "the steepest slope of sin^2 over 64 pixels, and rounding"


@given(st.integers(0, 32))
def test_two_weights_make_one(feather) -> None:
    weight = compute_blend_weights(feather)
    assert len(weight) == 2 * feather
    assert np.array_equal(weight + weight[::-1], np.full(2 * feather, FULL_WEIGHT))
    assert (np.diff(weight.astype(int)) >= 0).all()


@given(a=st.integers(0, 250), b=st.integers(0, 250), c=st.integers(0, 250), weight=st.integers(0, FULL_WEIGHT))
def test_mixing_keeps_order_and_bounds(a, b, c, weight) -> None:
    """So maps that are nested in both blocks are nested between them."""
    low, middle, high = (np.array([value], np.uint8) for value in sorted((a, b, c)))
    share = np.array([weight], np.uint16)
    assert low <= blend_values(low, high, share) <= high
    assert blend_values(low, middle, share) <= blend_values(middle, high, share)
    assert blend_values(low, low, share) == low
    nothing = np.array([NODATA], np.uint8)
    assert blend_values(nothing, nothing, share) == NODATA


# In a process of its own: other tests leave threads and caches that allocate too.
PEAKS = """
import tracemalloc
import numpy as np
from forestgaps_rasters.prediction.blending import assemble_strips
from forestgaps_rasters.prediction.window_grid import WindowGrid

for rows in (200, 500, 16_000):  # the first imports and fills caches
    window_grid = WindowGrid.create(rows, 300, 128, 64)
    tracemalloc.start()
    for _ in assemble_strips(window_grid, 2, lambda item: np.ones((2, *window_grid.shape(item)), np.uint8)):
        pass
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_memory_is_that_of_a_strip_however_tall_the_raster() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    _, low, tall = map(int, done.stdout.split())
    assert tall < 1.3 * low, "32 times the rows"
