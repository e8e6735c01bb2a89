from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_tracking.colors import CANOPY, FALSE_NEGATIVE, FALSE_POSITIVE, GAP, TRUE_POSITIVE
from forestgaps_tracking.first_tiles import FirstTiles
from forestgaps_tracking.pictures import draw_predictions, draw_tiles, hillshade


def test_flat_ground_is_as_bright_as_the_sine_of_the_suns_altitude() -> None:
    shade = hillshade(torch.full((1, 1, 5, 6), 812.0), altitude=30.0)
    assert torch.allclose(shade, torch.full_like(shade, 0.5))


def test_a_slope_that_faces_the_sun_is_brightest_and_its_back_is_dark() -> None:
    """Light from the north-west at 45 degrees falls square on a slope of 45 degrees that faces it."""
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    facing = (rows + columns)[None, None] / 2**0.5  # rises to the south-east
    assert torch.allclose(hillshade(facing), torch.ones(1, 1, 9, 9))
    assert hillshade(-facing).max() < 1e-3


def test_hillshade_agrees_with_matplotlib() -> None:
    np, colors = pytest.importorskip("numpy"), pytest.importorskip("matplotlib.colors")
    dsm = example_batch(samples=1, size=24, nodata=0.0).dsm
    light = colors.LightSource(azdeg=315, altdeg=45)
    dy, dx = np.gradient(dsm[0, 0].numpy())
    normal = np.stack([-dx, dy, np.ones_like(dx)], axis=-1)  # matplotlib's y points north
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    expected = (normal @ light.direction).clip(0, 1)
    np.testing.assert_allclose(hillshade(dsm)[0, 0].numpy(), expected, atol=2e-4)


def test_each_kind_of_pixel_has_its_color_in_each_panel() -> None:
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0, 1.0]]]])
    logits = torch.tensor([[[[9.0, -9.0, 9.0, -9.0, 9.0]]]])
    valid = torch.tensor([[[[True, True, True, True, False]]]])
    picture = draw_predictions(torch.zeros(1, 1, 1, 5), target, valid, logits, border=2)[0, 0, :, 0]
    assert picture.shape == (3, 4 * 5 + 3 * 2)

    def pixels(panel: int) -> list[tuple[int, ...]]:
        return [tuple(pixel) for pixel in picture[:, panel * 7 : panel * 7 + 5].T.tolist()]

    def as_bytes(*colors: tuple[float, float, float]) -> list[tuple[int, ...]]:
        return [tuple(round(part * 255) for part in color) for color in colors]

    white = (1.0, 1.0, 1.0)
    assert pixels(1) == as_bytes(GAP, GAP, CANOPY, CANOPY, white)
    assert pixels(3) == as_bytes(TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE, CANOPY, white)
    assert pixels(0)[4] == pixels(2)[4] == (255, 255, 255)
    assert (picture[:, 5:7] == 255).all()


@given(samples=st.integers(1, 3), size=st.integers(1, 9), seed=st.integers(0, 5))
def test_what_lies_under_invalid_pixels_is_not_drawn(samples: int, size: int, seed: int) -> None:
    batch = example_batch(samples=samples, size=max(size, 2), seed=seed)
    logits = example_logits(batch)
    first = draw_predictions(batch.dsm, batch.target, batch.valid, logits)
    other = draw_predictions(
        batch.dsm, torch.where(batch.valid, batch.target, 0.5), batch.valid, torch.where(batch.valid, logits, -3.0)
    )
    assert torch.equal(first, other)


def test_the_first_tiles_of_a_pass_are_drawn_for_each_threshold() -> None:
    tiles = FirstTiles(3)
    for seed in range(3):
        batch = example_batch(samples=2, size=8, seed=seed)
        tiles.add(batch, example_logits(batch))
    drawn = dict(draw_tiles(tiles))
    assert list(drawn) == [f"gaps_below_{meters}m/tile_{tile}" for tile in (1, 2, 3) for meters in (2, 5, 10)]
    third = example_batch(samples=2, size=8, seed=1)
    expected = draw_predictions(third.dsm, third.target, third.valid, example_logits(third))[0, 1]
    assert torch.equal(drawn["gaps_below_5m/tile_3"], expected)
