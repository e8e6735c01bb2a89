from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forestgaps_evaluation.protocol.scores import (
    SCORES,
    choose_best_baseline,
    compute_baselines,
    compute_gap_fraction,
    compute_scores,
    is_evaluated,
)

counts = arrays.arrays(np.int64, (4,), elements=st.integers(0, 10_000))


def test_golden_values():
    found = compute_scores(np.array([6, 2, 1, 11]))
    golden = {
        "gap_iou": 6 / 9,
        "canopy_iou": 11 / 14,
        "mean_iou": (6 / 9 + 11 / 14) / 2,
        "gap_f1": 12 / 15,
        "gap_precision": 6 / 8,
        "gap_recall": 6 / 7,
        "canopy_recall": 11 / 13,
        "accuracy": 17 / 20,
        "mcc": (66 - 2) / math.sqrt(8 * 7 * 13 * 12),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(golden)
    assert tuple(found) == SCORES


@given(counts)
def test_they_are_those_of_the_metrics(tallied):
    reference = pytest.importorskip("forestgaps_metrics.scores").compute_two_class_scores(torch.from_numpy(tallied))
    for name, value in compute_scores(tallied).items():
        assert float(value) == pytest.approx(reference[name].item(), nan_ok=True), name


def test_undefined_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(value) for value in compute_scores(np.zeros(4)).values())
        assert np.isnan(compute_gap_fraction(np.zeros(4)))


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.78, 0.95])
def test_what_knows_nothing_scores_by_the_gap_fraction_alone(fraction):
    found = compute_baselines(np.array(fraction))
    assert found["all_gap"]["gap_iou"] == pytest.approx(fraction)
    assert found["all_gap"]["mean_iou"] == pytest.approx(fraction / 2)
    assert found["all_canopy"]["mean_iou"] == pytest.approx((1 - fraction) / 2)
    assert found["random"]["gap_iou"] == pytest.approx(fraction / (2 - fraction))
    assert found["random"]["mcc"] == pytest.approx(0, abs=1e-12)
    assert found["random"]["gap_f1"] == pytest.approx(fraction)
    assert choose_best_baseline(np.array(fraction), "mean_iou") == pytest.approx(max(fraction, 1 - fraction) / 2)
    assert choose_best_baseline(np.array(fraction), "gap_precision") == pytest.approx(fraction), (
        "calling nothing gap has no precision"
    )


def test_random_guessing_scores_what_its_formula_gives():
    generator, fraction, pixels = np.random.default_rng(0), 0.3, 400_000
    gap, called = generator.random(pixels) < fraction, generator.random(pixels) < fraction
    found = compute_scores(np.array([(called & gap).sum(), (called & ~gap).sum(), (~called & gap).sum(), (~called & ~gap).sum()]))
    for name, expected in compute_baselines(np.array(fraction))["random"].items():
        assert float(found[name]) == pytest.approx(float(expected), abs=0.005), name


@given(counts.filter(lambda some: some.sum() > 0))
def test_no_map_without_knowledge_beats_the_best_map(tallied):
    fraction = compute_gap_fraction(tallied)
    perfect = compute_scores(np.array([tallied[0] + tallied[2], 0, 0, tallied[1] + tallied[3]]))
    for kind in compute_baselines(fraction).values():
        for name, value in kind.items():
            assert np.isnan(value) or np.isnan(perfect[name]) or value <= perfect[name] + 1e-12


def test_extreme_gap_fractions_are_not_evaluated():
    assert is_evaluated(np.array([0.0, 0.0099, 0.01, 0.5, 0.95, 0.951, 1.0, np.nan])).tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert np.isnan(choose_best_baseline(np.array([0.0, 1.0]), "mean_iou")).all()
