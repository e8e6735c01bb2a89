from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_evaluation.pages.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Chart,
    Scale,
    format_power,
    make_linear_scale,
    make_log_scale,
    make_percent_scale,
    make_score_scale,
    make_value_scale,
)


def chart(**changes) -> Chart:
    whole = {
        "name": "a",
        "title": "T",
        "description": "D",
        "x": make_percent_scale("x"),
        "y": make_score_scale("y"),
        "width": 264,
        "height": 216,
    }
    return Chart(**{**whole, **changes})


def drawn(one: Chart) -> ET.Element:
    return ET.fromstring(str(one.__html__()))


def test_ends_of_the_axes_are_the_corners_of_the_plot():
    one = chart()
    assert one.across([0, 1]).tolist() == [LEFT, 264 - RIGHT]
    assert one.up([0, 1]).tolist() == [216 - BOTTOM, TOP]


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors():
    along = make_log_scale(1, 10_000, "area").fraction([1, 10, 100, 1000, 10_000])
    np.testing.assert_allclose(np.diff(along), 0.25)


def test_a_line_is_broken_where_a_value_is_unknown():
    one = chart()
    one.line([0, 0.25, 0.5, 0.75, 1], [0, 0.5, np.nan, 0.5, 1], "predicted")
    found = drawn(one).find("{*}path[@class='line predicted']")
    assert found is not None
    assert re.sub(r"[^ML]", "", found.attrib["d"]) == "MLML"


def test_nothing_is_drawn_of_nothing():
    one = chart()
    one.line([0, 1], [np.nan, np.nan], "predicted")
    one.ranges([0.5], [np.nan], [np.nan], "predicted")
    one.points([0.5], [np.nan], "predicted")
    one.band([0, 1], [np.nan, 0], [0, 1], "predicted")
    assert one.parts == []


def test_reference_baseline_and_predicted_differ_in_shape():
    one = chart()
    for role in ("predicted", "reference", "baseline"):
        one.points([0.5], [0.5], role)
    assert [part[1:5].strip() for part in one.parts] == ["circ", "rect", "path"]


def test_a_chart_has_a_description_for_screen_readers():
    found = drawn(chart(title="a < b", description='"quoted" & more'))
    names = {element.attrib["id"]: element.text for element in found.iter() if "id" in element.attrib}
    assert found.attrib["role"] == "img"
    assert [names[name] for name in found.attrib["aria-labelledby"].split()] == ["a < b", '"quoted" & more']


@given(st.lists(st.floats(0.001, 1e7), min_size=1, max_size=20))
def test_an_axis_holds_all_values_and_its_ticks_rise(values):
    axis = make_linear_scale(values, "n")
    assert axis.high >= max(values) * (1 - 1e-9)
    ticks = [tick for tick, _ in axis.ticks]
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 12


@given(st.floats(0.01, 1e4), st.floats(1, 1e6))
def test_powers_reach_from_below_to_above(low, factor):
    axis = make_log_scale(low, low * factor, "area")
    assert axis.low <= low * (1 + 1e-6)
    assert axis.high >= low * factor * (1 - 1e-6)
    assert all(axis.low <= tick <= axis.high * (1 + 1e-9) for tick, _ in axis.ticks)


def test_ticks_that_would_touch_are_left_out():
    labels = [label for _, label in make_value_scale([2, 3, 5, 10, 30], "m").ticks]
    assert labels == ["2", "5", "10", "30"]


@pytest.mark.parametrize(("value", "words"), [(1.0, "1"), (100.0, "100"), (1e4, "10k"), (1e6, "1M"), (0.1, "0.1")])
def test_powers_of_ten_in_few_letters(value, words):
    assert format_power(value) == words


def test_what_lies_beyond_an_axis_is_put_at_its_end():
    assert Scale(0, 10, [], "x").fraction([-5, 20]).tolist() == [0, 1]


def test_a_histogram_has_two_points_for_each_edge():
    one = chart(y=make_linear_scale([4], "n"))
    one.steps([0, 0.5, 1], [4, 2], "predicted")
    assert len(re.findall("[ML]", one.parts[0].split(" d=")[1])) == 6
