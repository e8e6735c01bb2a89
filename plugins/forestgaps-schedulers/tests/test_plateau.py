from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.plateau import Plateau

LIKE_THAT = st.lists(st.floats(-1, 1) | st.just(math.nan), max_size=60)
SETTINGS = st.builds(
    Plateau,
    score=st.just("s"),
    mode=st.sampled_from(["max", "min"]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 4),
    min_change=st.floats(0, 0.2),
    floor=st.floats(0, 0.5),
)


def levels(config: Plateau, scores: list[float]) -> list[float]:
    follower = config.build(100)
    seen = []
    for score in scores:
        follower.observe({"s": score})
        seen.append(follower(50))
    return seen


def test_a_run_worked_by_hand() -> None:
    """Patience 1: the second validation in a row without an improvement costs half."""
    config = Plateau(score="s", patience=1, factor=0.5)
    assert levels(config, [0.1, 0.2, 0.2, 0.19, 0.18, 0.3, 0.2, 0.2]) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_less_may_be_better() -> None:
    assert levels(Plateau(score="s", mode="min", patience=0), [0.5, 0.4, 0.45]) == [1, 1, 0.5]


def test_a_small_change_is_no_improvement() -> None:
    assert levels(Plateau(score="s", patience=0, min_change=0.1), [0.5, 0.55, 0.61]) == [1, 0.5, 0.5]


def test_validations_of_the_cooldown_do_not_count() -> None:
    assert levels(Plateau(score="s", patience=0, cooldown=2), [0.5, 0.4, 0.4, 0.4, 0.4]) == [1, 0.5, 0.5, 0.5, 0.25]


def test_it_does_not_fall_below_the_floor() -> None:
    assert levels(Plateau(score="s", patience=0, floor=0.3), [0.0] * 5) == [1, 0.5, 0.3, 0.3, 0.3]


@settings(deadline=None)
@given(config=SETTINGS, scores=LIKE_THAT, stop=st.integers(0, 60))
def test_a_resumed_run_continues_as_if_it_had_not_stopped(config: Plateau, scores: list[float], stop: int) -> None:
    first = config.build(100)
    for score in scores[:stop]:
        first.observe({"s": score})
    second = config.build(100)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for score in scores[stop:]:
        first.observe({"s": score})
        second.observe({"s": score})
        assert first(50) == second(50)
    assert first.state_dict() == second.state_dict()


def test_a_resumed_run_continues_with_its_cooldown() -> None:
    config = Plateau(score="s", patience=0, cooldown=2)
    first, second = config.build(100), config.build(100)
    for score in (0.5, 0.4):
        first.observe({"s": score})
    second.load_state_dict(first.state_dict())
    second.observe({"s": 0.4})
    second.observe({"s": 0.4})
    assert second(50) == 0.5
    second.observe({"s": 0.4})
    assert second(50) == 0.25


@settings(deadline=None)
@given(config=SETTINGS, scores=LIKE_THAT)
def test_it_only_falls_and_stays_at_or_above_its_floor(config: Plateau, scores: list[float]) -> None:
    seen = levels(config, scores)
    assert seen == sorted(seen, reverse=True)
    assert all(config.floor <= level <= 1 for level in seen)


def test_a_fall_in_the_warm_up_shows_in_the_warm_up() -> None:
    follower = Plateau(score="s", warmup=9, patience=0).build(100)
    assert follower(4) == 0.5
    follower.observe({"s": 1.0})
    follower.observe({"s": 1.0})
    assert (follower(4), follower(9)) == (0.25, 0.5)


def test_a_score_the_validation_lacks_is_named_with_the_nearest() -> None:
    follower = Plateau(score="validation/gaps/gap_iuo").build(100)
    with pytest.raises(ConfigError, match="did you mean 'validation/gaps/gap_iou'"):
        follower.observe({"validation/gaps/gap_iou": 0.5})
