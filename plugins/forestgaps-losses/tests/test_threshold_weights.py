from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure, unstructure
from forestgaps_core.errors import ConfigError
from forestgaps_losses.bce import Bce
from forestgaps_losses.threshold_weights import ThresholdWeights, build_threshold_weights, compute_rarity_weights

np = pytest.importorskip("numpy")

HEIGHTS = st.floats(0.5, 60)


def test_between_two_heights_the_weight_is_interpolated_in_the_logarithm() -> None:
    halfway = math.sqrt(2 * 8)
    weights = build_threshold_weights({"8": 1.0, "2": 3.0})(torch.tensor([[2.0, halfway, 8.0]]))
    torch.testing.assert_close(weights, torch.tensor([[3.0, 2.0, 1.0]]))


def test_beyond_the_known_heights_the_weight_at_the_end_holds() -> None:
    assert build_threshold_weights({"2": 3.0, "8": 1.0})(torch.tensor([[0.5, 30.0]])).tolist() == [[3.0, 1.0]]


def test_one_height_gives_one_weight_everywhere() -> None:
    assert build_threshold_weights({"5": 2.0})(torch.tensor([[1.0, 5.0], [7.0, 9.0]])).tolist() == [[2.0, 2.0], [2.0, 2.0]]


@settings(deadline=None)
@given(
    points=st.dictionaries(HEIGHTS.map(lambda height: f"{height:.2f}"), st.floats(0, 10), min_size=1, max_size=6).filter(
        lambda points: any(points.values())
    ),
    thresholds=st.lists(HEIGHTS, min_size=1, max_size=5),
)
def test_it_agrees_with_numpy(points: dict[str, float], thresholds: list[float]) -> None:
    known = sorted((float(height), weight) for height, weight in points.items())
    expected = np.interp(np.log(thresholds), np.log([height for height, _ in known]), [weight for _, weight in known])
    found = build_threshold_weights(points)(torch.tensor([thresholds]))
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_thresholds_shared_by_expansion_are_no_trouble() -> None:
    shared = torch.tensor([2.0, 5.0]).expand(4, -1)
    assert build_threshold_weights((3.0, 1.0), thresholds=(2.0, 5.0))(shared).tolist() == [[3.0, 1.0]] * 4


def test_a_list_needs_one_weight_for_each_threshold() -> None:
    with pytest.raises(ConfigError, match="found 2 weights for 3 thresholds"):
        build_threshold_weights((1.0, 2.0), thresholds=(2.0, 5.0, 10.0))


def test_rarity_follows_the_formula_and_has_mean_one() -> None:
    weights = compute_rarity_weights((0.0, 0.05, 1.0))
    assert weights[0] / weights[2] == pytest.approx(math.log(2.02) / math.log(1.02))
    assert weights[1] / weights[2] == pytest.approx(math.log(2.02) / math.log(1.07))
    assert sum(weights) / 3 == pytest.approx(1)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_rarer_gaps_never_count_less(shares: list[float]) -> None:
    weights = compute_rarity_weights(sorted(shares))
    assert weights == sorted(weights, reverse=True) and weights[-1] > 0


def test_rarity_reaches_the_thresholds_between() -> None:
    weights = build_threshold_weights("rarity", thresholds=(2.0, 8.0), gap_fraction=lambda: (0.05, 0.5))(
        torch.tensor([[2.0, 4.0, 8.0]])
    )[0]
    assert weights[0] > weights[1] > weights[2]
    torch.testing.assert_close(weights[1], weights[[0, 2]].mean())


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"two": 1.0}, "not a height in meters"),
        ({"0": 1.0}, "not a height in meters"),
        ({"nan": 1.0}, "not a height in meters"),
        ({"2": 1.0, "2.0": 3.0}, "height is given twice"),
        ({"2": -1.0}, "at least 0"),
        ({"2": 0.0}, "one of them above 0"),
        ([], "one of them above 0"),
        ([1.0, float("inf")], "at least 0"),
        ("rarety", "rarity"),
        (3, "threshold_weights"),
    ],
)
def test_weights_that_make_no_sense_are_refused(said: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        structure({"threshold_weights": said}, Bce)


@pytest.mark.parametrize("said", ["equal", "rarity", [3.0, 1.0], {"2": 3.0, "5": 1.0}])
def test_every_form_of_them_survives_the_run_file(said: object) -> None:
    config = structure({"threshold_weights": said}, Bce)
    assert structure(unstructure(config), Bce) == config


def test_rarity_without_a_pixel_to_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="no valid pixel"):
        build_threshold_weights("rarity", thresholds=(2.0, 5.0), gap_fraction=lambda: (float("nan"),) * 2)


def must_not_be_called() -> tuple[float, ...]:
    raise AssertionError("the training split was read for nothing")


@pytest.mark.parametrize("said", ["equal", (3.0, 1.0), {"2": 3.0, "5": 1.0}])
def test_gaps_are_not_counted_where_nobody_asks_how_rare_they_are(said: ThresholdWeights) -> None:
    build_threshold_weights(said, thresholds=(2.0, 5.0), gap_fraction=must_not_be_called)


def test_rarity_without_the_run_reports_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="needs the thresholds of the run"):
        build_threshold_weights("rarity")
    with pytest.raises(ConfigError, match="needs the thresholds of the run"):
        build_threshold_weights("rarity", thresholds=(2.0,), gap_fraction=lambda: (0.1, 0.2))
