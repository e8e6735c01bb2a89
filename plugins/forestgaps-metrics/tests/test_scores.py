from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_metrics.scores import SCORES, compute_two_class_scores

COUNT = st.integers(0, 10**12)


def scores(tp, fp, fn, tn):
    return {name: value.item() for name, value in compute_two_class_scores(torch.tensor([tp, fp, fn, tn])).items()}


def test_a_matrix_worked_by_hand():
    # 10 pixels are gap, of which 6 are found; 3 of the 90 canopy pixels are taken for gap.
    found = scores(tp=6, fp=3, fn=4, tn=87)
    expected = {
        "gap_iou": 6 / 13,
        "canopy_iou": 87 / 94,
        "mean_iou": (6 / 13 + 87 / 94) / 2,
        "gap_f1": 12 / 19,
        "gap_f05": 1.25 * 6 / (1.25 * 6 + 0.25 * 4 + 3),
        "gap_f2": 30 / (30 + 16 + 3),
        "gap_precision": 6 / 9,
        "gap_recall": 0.6,
        "canopy_precision": 87 / 91,
        "canopy_recall": 87 / 90,
        "specificity": 87 / 90,
        "accuracy": 0.93,
        "balanced_accuracy": (0.6 + 87 / 90) / 2,
        "mcc": (6 * 87 - 3 * 4) / math.sqrt(9 * 10 * 91 * 90),
        # by chance 0.09 * 0.10 + 0.91 * 0.90 = 0.828 would agree
        "kappa": (0.93 - 0.828) / (1 - 0.828),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_all_scores_are_there_under_their_names():
    assert tuple(scores(1, 2, 3, 4)) == SCORES


def test_what_cannot_be_said_is_nan():
    without_gaps = scores(tp=0, fp=0, fn=0, tn=100)
    for name in ("gap_iou", "gap_f1", "gap_f05", "gap_f2", "gap_precision", "gap_recall", "mean_iou", "mcc", "kappa"):
        assert math.isnan(without_gaps[name]), name
    assert without_gaps["canopy_iou"] == without_gaps["accuracy"] == without_gaps["specificity"] == 1
    assert all(math.isnan(value) for value in scores(0, 0, 0, 0).values())


def test_missing_every_gap_is_zero_and_not_undefined():
    found = scores(tp=0, fp=0, fn=5, tn=95)
    assert found["gap_iou"] == found["gap_f1"] == found["gap_recall"] == 0
    assert math.isnan(found["gap_precision"])


@settings(deadline=None)
@given(COUNT, COUNT, COUNT, COUNT)
def test_scores_stay_in_their_bounds(tp, fp, fn, tn):
    for name, value in scores(tp, fp, fn, tn).items():
        low = -1 if name in ("mcc", "kappa") else 0
        assert math.isnan(value) or low - 1e-9 <= value <= 1 + 1e-9, name


@settings(deadline=None)
@given(COUNT, COUNT, COUNT, COUNT)
def test_calling_gap_canopy_and_canopy_gap_swaps_their_scores(tp, fp, fn, tn):
    one, other = scores(tp, fp, fn, tn), scores(tn, fn, fp, tp)
    for name, value in one.items():
        twin = name.replace("gap", "CANOPY").replace("canopy", "gap").replace("CANOPY", "canopy")
        if name != "specificity":
            assert other[twin] == pytest.approx(value, nan_ok=True, rel=1e-9, abs=1e-12), name


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_f05_leans_to_precision_and_f2_to_recall(tp, fp, fn, tn):
    found = scores(tp, fp, fn, tn)
    low, high = sorted((found["gap_f05"], found["gap_f2"]))
    assert low - 1e-12 <= found["gap_f1"] <= high + 1e-12
    assert (found["gap_precision"] >= found["gap_recall"]) == (found["gap_f05"] >= found["gap_f2"] - 1e-15)
