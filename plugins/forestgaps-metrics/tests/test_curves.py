from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import Curves
from forestgaps_metrics.curves import STRETCH

from .example_pixels import make_batch_of_pixels


def of_pixels(logits, gap):
    batch = make_batch_of_pixels(gap)
    return torch.tensor(logits, dtype=torch.float32).reshape(batch.target.shape), batch


def scored(logits, batch, **options):
    metric = Curves(**options)
    metric.update(logits, batch)
    return metric


def test_four_pixels_worked_by_hand():
    # From the surest: gap, canopy, gap, canopy. Precision at the gaps is 1/1 and 2/3; of 4 pairs 3 are in order.
    values = scored(*of_pixels([2, 1, -1, -2], [1, 0, 1, 0])).compute()
    assert values["average_precision@5m"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["auroc@5m"] == pytest.approx(3 / 4)
    assert values["best_f1@5m"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))


def test_the_best_decision_threshold_gives_the_best_f1():
    logits, batch = of_pixels([3.0, 2.0, 1.5, -2], [1, 1, 0, 0])
    values = scored(logits, batch).compute()
    assert values["best_f1@5m"] == 1
    cut = values["best_decision_threshold@5m"]
    assert (logits.sigmoid() >= cut).flatten().tolist() == [True, True, False, False]


def test_one_logit_for_all_is_chance():
    values = scored(*of_pixels([0.3] * 4, [1, 0, 0, 0])).compute()
    assert values["auroc@5m"] == 0.5
    assert values["average_precision@5m"] == 0.25


def test_a_survey_of_one_class_has_no_roc_curve():
    only_canopy, only_gap = scored(*of_pixels([1, 2], [0, 0])).compute(), scored(*of_pixels([1, 2], [1, 1])).compute()
    assert math.isnan(only_canopy["auroc@5m"])
    assert math.isnan(only_canopy["average_precision@5m"])
    assert math.isnan(only_canopy["best_f1@5m"])
    assert math.isnan(only_canopy["best_decision_threshold@5m"])
    assert math.isnan(only_gap["auroc@5m"])
    assert only_gap["average_precision@5m"] == only_gap["best_f1@5m"] == 1


def test_a_network_sure_of_itself_is_still_ranked():
    """All of these are within 1/1000 of 0: equal bins of probability would tie them."""
    assert scored(*of_pixels([-7.5, -9.0, -10.0, -12.0], [1, 1, 0, 0])).compute()["auroc@5m"] == 1


def test_the_curve_falls_from_the_highest_cut_to_the_lowest():
    batch = example_batch()
    points = scored(example_logits(batch), batch).compute_curve()
    assert points.recall.shape == (3, 512)
    assert (points.recall.diff(dim=1) >= 0).all()
    assert (points.false_positive_rate.diff(dim=1) >= 0).all()
    assert (points.decision_threshold.diff(dim=1) < 0).all()
    assert (points.recall[:, -1] == 1).all()
    assert points.decision_threshold[0, -1] == 0
    assert Curves().compute_curve().recall.shape == (0, 512)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_swapping_the_classes_and_the_sign_keeps_the_area_under_the_roc_curve(seed):
    batch = example_batch(samples=1, size=16, seed=seed)
    logits = example_logits(batch, seed=seed)
    swapped = attrs.evolve(batch, target=1 - batch.target)
    one, other = scored(logits, batch).compute(), scored(-logits, swapped).compute()
    for end in ("@2m", "@5m", "@10m"):
        assert one[f"auroc{end}"] == pytest.approx(other[f"auroc{end}"], abs=1e-3, nan_ok=True)


def test_areas_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    batch = example_batch()
    logits = example_logits(batch)
    for bins, tolerance in ((64, 1e-12), (4096, 1e-12)):
        values = scored(logits, batch, bins=bins).compute()
        for plane, end in enumerate(("@2m", "@5m", "@10m")):
            truth = batch.target[:, plane][batch.valid[:, 0]].numpy()
            exact = logits[:, plane][batch.valid[:, 0]]
            rounded = ((exact / STRETCH).sigmoid() * bins).floor().numpy()
            assert values[f"auroc{end}"] == pytest.approx(sk.roc_auc_score(truth, rounded), abs=tolerance)
            assert values[f"average_precision{end}"] == pytest.approx(sk.average_precision_score(truth, rounded), abs=tolerance)
            assert values[f"auroc{end}"] == pytest.approx(sk.roc_auc_score(truth, exact.numpy()), abs=2e-2 / bins * 64)


def test_the_curve_agrees_with_torchmetrics_at_the_same_cuts():
    tm = pytest.importorskip("torchmetrics.functional.classification")
    batch = example_batch()
    logits = example_logits(batch)
    points = scored(logits, batch, bins=32).compute_curve()
    inside = batch.valid[:, 0]
    for plane in range(3):
        pair = logits[:, plane][inside].sigmoid(), batch.target[:, plane][inside].long()
        bins = points.decision_threshold[plane].flip(0).float()
        precision, recall, _ = tm.binary_precision_recall_curve(*pair, thresholds=bins)
        assert points.recall[plane].flip(0).numpy() == pytest.approx(recall[:-1].numpy(), abs=1e-6)
        known = ~points.precision[plane].flip(0).isnan()
        assert points.precision[plane].flip(0)[known].numpy() == pytest.approx(precision[:-1][known].numpy(), abs=1e-6)
