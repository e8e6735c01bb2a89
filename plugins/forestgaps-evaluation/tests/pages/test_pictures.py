from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from forestgaps_evaluation.pages.pictures import (
    FALSE_NEGATIVE_RGB,
    FALSE_POSITIVE_RGB,
    NO_DATA_RGB,
    TRUE_POSITIVE_RGB,
    draw_agreement,
    draw_gaps,
    encode_picture,
    enlarge,
    frame_picture,
    hillshade,
    make_agreement_legend,
    make_color_ramp,
    make_scale_bar,
    make_threshold_legend,
)


def plane(down: float, right: float) -> np.ndarray:
    """A plane that rises so much from a row, or a column, to the next."""
    row, column = np.indices((9, 9))
    return (down * row + right * column).astype(np.float32)


def test_a_flat_surface_has_the_sine_of_the_sun():
    np.testing.assert_allclose(hillshade(plane(0, 0), 1.0), math.sin(math.radians(45)), rtol=1e-5)


@pytest.mark.parametrize(
    ("down", "right", "bright"),
    [(1, 1, True), (-1, -1, False)],  # rising away from the upper left it faces the sun
)
def test_light_comes_from_the_upper_left(down, right, bright):
    flat = math.sin(math.radians(45))
    assert (hillshade(plane(down, right), 1.0)[4, 4] > flat) == bright


def test_a_slope_that_faces_the_sun_squarely_is_brightest():
    # 45 degrees up, towards the north-west: a rise of 1 along the diagonal, sqrt(1/2) a pixel.
    step = math.sqrt(0.5)
    assert hillshade(plane(step, step), 1.0, exaggeration=1.0)[4, 4] == pytest.approx(1.0, abs=1e-6)


def test_pixel_size_matters_as_slope_does():
    np.testing.assert_allclose(hillshade(plane(2, 4), 2.0), hillshade(plane(1, 2), 1.0), atol=1e-6)


def test_holes_stay_holes_and_do_not_spread():
    surface = plane(0.3, 0.1)
    whole = hillshade(surface, 1.0)
    surface[4, 4] = np.nan
    shade = hillshade(surface, 1.0)
    assert np.isnan(shade).sum() == 1
    np.testing.assert_allclose(np.delete(shade, 40), np.delete(whole, 40), atol=1e-5)  # a plane is one from each side


def luminance(color) -> float:
    linear = [(c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@given(st.integers(2, 12))
def test_lower_thresholds_are_brighter(count):
    values = [luminance(color) for color in make_color_ramp(count)]
    assert values == sorted(values, reverse=True)
    assert len({tuple(color) for color in make_color_ramp(count)}) == count


def test_the_legend_names_each_class_once():
    words = [color.label for color in make_threshold_legend([2, 5, 10])]
    assert words == ["below 2 m", "2 to 5 m", "5 to 10 m", "10 m and more: no gap"]


def test_agreement_is_shown_by_pattern_as_well_as_by_color():
    legend = make_agreement_legend()
    assert len({color.pattern for color in legend}) == 3
    bright = sorted(luminance(color) for color in (TRUE_POSITIVE_RGB, FALSE_NEGATIVE_RGB, FALSE_POSITIVE_RGB))
    assert bright[1] / bright[0] > 1.5


def test_a_pixel_has_the_color_of_the_lowest_threshold():
    shade = np.full((1, 4), 0.7, np.float32)
    gaps = np.array([[[True, False, False, False]], [[True, True, False, False]]])
    picture = draw_gaps(shade, gaps, np.array([[True, True, True, False]])).astype(int)
    lowest, second, none, hole = picture[0]
    assert np.abs(lowest - make_color_ramp(2)[0]).mean() < np.abs(lowest - make_color_ramp(2)[1]).mean()
    assert np.abs(second - make_color_ramp(2)[1]).mean() < np.abs(second - make_color_ramp(2)[0]).mean()
    assert none.max() - none.min() == 0  # gray
    assert tuple(hole) == NO_DATA_RGB


def test_agreement_shows_three_kinds():
    shade = np.full((12, 12), 0.7, np.float32)
    predicted, reference = np.zeros((2, 12, 12), bool)
    predicted[:, :6] = True
    reference[:6] = True
    picture = draw_agreement(shade, predicted, reference, np.ones((12, 12), bool)).astype(float)
    both, missed, invented, none = picture[:6, :6], picture[:6, 6:], picture[6:, :6], picture[6:, 6:]
    assert len(np.unique(both.reshape(-1, 3), axis=0)) == 1
    assert both[0, 0].argmax() == 2
    assert len(np.unique(none.reshape(-1, 3), axis=0)) == 1
    for hatched, color in ((missed, FALSE_NEGATIVE_RGB), (invented, FALSE_POSITIVE_RGB)):
        brightness = hatched.sum(-1)
        assert brightness.min() < 0.6 * brightness.max()
        plain = hatched[brightness == brightness.max()][0]
        assert np.abs(plain - np.array(color)).max() < 60


def test_a_picture_comes_back_from_its_address():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    address = encode_picture(picture)
    head, _, body = address.partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert image.size == (30, 20)


@given(st.floats(1, 1e6))
def test_a_scale_bar_is_round_and_takes_an_eighth_to_a_third(width):
    bar = make_scale_bar(width)
    assert 1 / 8 < bar.part <= 1 / 3 + 1e-9
    number, unit = bar.label.split()
    meters = float(number) * {"m": 1, "km": 1000}[unit]
    assert meters == pytest.approx(bar.part * width)
    assert f"{meters:e}"[0] in "125"


def test_enlarged_pixels_are_squares():
    assert enlarge(np.array([[[1, 2]]]), 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


def test_a_framed_picture_knows_its_size():
    found = frame_picture(np.zeros((10, 20, 3), np.uint8), width_m=100.0, alt="a", caption="c")
    assert (found.width, found.height) == (20, 10)
    assert found.bar is not None
