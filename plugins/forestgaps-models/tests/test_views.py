from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core import ConfigError
from forestgaps_core.config.converter import structure, unstructure
from forestgaps_core.testing import example_batch
from forestgaps_models.views import View

BATCH = example_batch(samples=2, size=48)
EVERYTHING = View(channels=("relief", "tophats", "ground", "positions"), relief_m=9, tophats_m=(3, 7))


def test_the_default_view_is_relief_four_top_hats_and_the_mask() -> None:
    view = View().build(1.0)
    channels = view(BATCH.dsm, BATCH.valid)
    assert view.channel_count == channels.shape[1] == 6
    assert torch.equal(channels[:, -1:], BATCH.valid.float())


@pytest.mark.parametrize(("resolution", "pixels"), [(1.0, (7, 15, 31, 61)), (0.5, (15, 31, 63, 123)), (2.0, (5, 9, 17, 31))])
def test_widths_are_meters_whatever_the_resolution(resolution: float, pixels: tuple[int, ...]) -> None:
    assert View().build(resolution).tophats == pixels


def test_a_crown_on_flat_ground_stands_as_high_as_it_is_over_the_scale() -> None:
    dsm = torch.full((1, 1, 40, 40), 700.0)
    dsm[..., 10:15, 10:15] += 12.0
    channels = View(channels=("tophats",), tophats_m=(3, 7)).build(1.0)(dsm, torch.ones_like(dsm, dtype=torch.bool))
    assert channels[0, :2, 12, 12].tolist() == pytest.approx([0.0, 1.2], abs=1e-5)  # wider than 3 m, narrower than 7 m
    assert channels[0, :2, 30, 30].tolist() == [0.0, 0.0]


def test_relief_of_a_plane_is_zero_away_from_the_edge() -> None:
    dsm = (torch.arange(40.0)[:, None] * 0.8 + torch.arange(40.0)[None, :] * 0.3 + 1000)[None, None]
    relief = View(channels=("relief",), relief_m=9).build(1.0)(dsm, torch.ones_like(dsm, dtype=torch.bool))[:, :1]
    assert relief[..., 4:-4, 4:-4].abs().max() < 1e-4
    assert relief.abs().max() > 0.1


@settings(deadline=None)
@given(offset=st.floats(-400, 2600, width=32))
def test_raising_the_terrain_changes_nothing(offset: float) -> None:
    view = EVERYTHING.build(1.0)
    torch.testing.assert_close(view(BATCH.dsm + offset, BATCH.valid), view(BATCH.dsm, BATCH.valid), atol=2e-4, rtol=0)


@settings(max_examples=20, deadline=None)
@given(down=st.integers(0, 12), across=st.integers(0, 12))
def test_a_shifted_surface_has_a_shifted_view_away_from_the_edge(down: int, across: int) -> None:
    view = View(relief_m=9, tophats_m=(3, 7)).build(1.0)
    whole = view(BATCH.dsm, BATCH.valid)
    part = view(BATCH.dsm[..., down : down + 36, across : across + 36], BATCH.valid[..., down : down + 36, across : across + 36])
    margin = 6  # an opening of 7 pixels reaches 3 pixels twice
    torch.testing.assert_close(
        part[..., margin:-margin, margin:-margin],
        whole[..., down + margin : down + 36 - margin, across + margin : across + 36 - margin],
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)])
def test_a_turned_surface_has_a_turned_view(turn: Any) -> None:
    view = View(relief_m=9, tophats_m=(3, 7)).build(1.0)
    found = view(turn(BATCH.dsm), turn(BATCH.valid))
    torch.testing.assert_close(found, turn(view(BATCH.dsm, BATCH.valid)), atol=1e-4, rtol=0)


@settings(deadline=None)
@given(filling=st.floats(-1e4, 1e4, width=32))
def test_what_stands_under_invalid_pixels_is_never_read(filling: float) -> None:
    view = EVERYTHING.build(1.0)
    garbage = torch.where(BATCH.valid, BATCH.dsm, filling)
    assert torch.equal(view(garbage, BATCH.valid), view(BATCH.dsm, BATCH.valid))


def test_without_a_valid_pixel_the_surface_is_zero() -> None:
    channels = View().build(1.0)(BATCH.dsm, torch.zeros_like(BATCH.valid))
    assert torch.equal(channels, torch.zeros_like(channels))


def test_the_view_is_float32_under_bf16() -> None:
    view = EVERYTHING.build(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        channels = view(BATCH.dsm, BATCH.valid)
    assert channels.dtype == torch.float32
    assert torch.equal(channels, view(BATCH.dsm, BATCH.valid))


def test_a_window_of_one_pixel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tophats_m: 7 m is one pixel at 5 m; use 15 m or more"):
        View().build(5.0)
    View(channels=("relief",)).build(5.0)  # widths that are not asked for do not matter


def test_a_view_survives_its_way_through_a_run_file() -> None:
    assert structure(unstructure(EVERYTHING), View) == EVERYTHING


@pytest.mark.parametrize("wrong", [{"channels": ()}, {"channels": ("relief", "relief")}, {"tophats_m": (0.0,)}, {"scale_m": 0}])
def test_views_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        evolve(View(), **wrong)
