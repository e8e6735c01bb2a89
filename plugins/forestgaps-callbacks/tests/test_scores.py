from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_callbacks.scores import find_score, improves
from forestgaps_core import ConfigError

SCORES = {"train/loss": 0.5, "validation/gaps/gap_iou": 0.4}


def test_a_score_is_found_by_its_full_name() -> None:
    assert find_score(SCORES, "validation/gaps/gap_iou", "here") == 0.4


def test_a_misspelt_score_is_reported_with_its_place_the_nearest_name_and_all_names() -> None:
    with pytest.raises(ConfigError) as error:
        find_score(SCORES, "validation/gaps/gapiou", "callbacks.stop.score")
    sentence = str(error.value)
    assert "callbacks.stop.score: found 'validation/gaps/gapiou'" in sentence
    assert "did you mean 'validation/gaps/gap_iou'" in sentence
    assert "there is: train/loss, validation/gaps/gap_iou" in sentence


def test_an_epoch_without_validation_has_no_such_score_and_no_error() -> None:
    assert find_score({"train/loss": 0.5}, "validation/gaps/gap_iou", "here") is None


def test_a_misspelled_split_is_an_error_even_without_validation() -> None:
    with pytest.raises(ConfigError):
        find_score({"train/loss": 0.5}, "validatoin/gaps/gap_iou", "here")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_improves(value: float) -> None:
    assert not improves(value, None, "max")
    assert not improves(value, 0.0, "min")


@given(value=st.floats(-10, 10), best=st.floats(-10, 10), by=st.floats(0, 1))
def test_min_is_max_upside_down(value: float, best: float, by: float) -> None:
    assert improves(value, best, "max", by) == improves(-value, -best, "min", by)


def test_a_change_of_exactly_the_minimum_is_no_improvement() -> None:
    assert not improves(0.75, 0.5, "max", by=0.25)
    assert improves(0.76, 0.5, "max", by=0.25)
