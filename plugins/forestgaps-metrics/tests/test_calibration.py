from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import Calibration

from .example_pixels import make_batch_of_pixels


def of_pixels(probability, gap):
    batch = make_batch_of_pixels(gap)
    return torch.logit(torch.tensor(probability, dtype=torch.float32)).reshape(batch.target.shape), batch


def scored(logits, batch, **options):
    metric = Calibration(**options)
    metric.update(logits, batch)
    return metric


def test_four_pixels_worked_by_hand():
    # Two bins: {0.1, 0.3} with no gap, mean 0.2; {0.6, 0.8} with one gap, mean 0.7.
    values = scored(*of_pixels([0.1, 0.3, 0.6, 0.8], [0, 0, 0, 1]), bins=2).compute()
    assert values["brier"] == pytest.approx((0.01 + 0.09 + 0.36 + 0.04) / 4, abs=1e-6)
    assert values["ece"] == pytest.approx((0.2 + 0.2) / 2, abs=1e-6)
    assert values["mce"] == pytest.approx(0.2, abs=1e-6)
    assert values["brier_skill"] == pytest.approx(1 - 0.125 / (0.25 * 0.75), abs=1e-6)


def test_predicting_the_gap_fraction_everywhere_has_no_skill_and_no_calibration_error():
    values = scored(*of_pixels([0.25] * 4, [0, 1, 0, 0])).compute()
    assert values["brier_skill"] == pytest.approx(0, abs=1e-6)
    assert values["ece"] == pytest.approx(0, abs=1e-6)


def test_being_sure_and_right_is_perfect_and_sure_and_wrong_is_the_worst():
    _, batch = of_pixels([0.5] * 4, [0, 1, 0, 1])
    sure = (batch.target - 0.5) * 200
    assert scored(sure, batch).compute()["brier"] == scored(sure, batch).compute()["ece"] == 0
    assert scored(-sure, batch).compute()["brier"] == scored(-sure, batch).compute()["ece"] == 1


def test_a_survey_of_one_class_has_no_skill_to_tell():
    values = scored(*of_pixels([0.1, 0.2], [0, 0])).compute()
    assert math.isnan(values["brier_skill"])
    assert values["brier"] == pytest.approx(0.025, abs=1e-6)


def test_without_a_valid_pixel_every_value_is_nan():
    logits, batch = of_pixels([0.1, 0.2], [0, 0])
    values = scored(logits, attrs.evolve(batch, valid=torch.zeros_like(batch.valid))).compute()
    assert all(math.isnan(value) for value in values.values())


def test_the_curve_holds_mean_probability_and_gap_fraction_by_bin():
    probability, share, weight = scored(*of_pixels([0.1, 0.3, 0.6, 0.8], [0, 0, 0, 1]), bins=4).compute_curve()
    assert probability[0].tolist() == pytest.approx([0.1, 0.3, 0.6, 0.8], abs=1e-6)
    assert share[0].tolist() == [0, 0, 0, 1]
    assert weight[0].tolist() == [0.25] * 4
    empty, _, _ = scored(*of_pixels([0.1], [0]), bins=4).compute_curve()
    assert empty[0].isnan().tolist() == [False, True, True, True]
    assert Calibration().compute_curve()[0].shape == (0, 20)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_the_calibration_error_never_exceeds_its_largest_bin_nor_any_error_1(seed):
    batch = example_batch(samples=1, size=16, seed=seed)
    values = scored(example_logits(batch, seed=seed), batch).compute()
    for end in ("", "@2m", "@5m", "@10m"):
        assert 0 <= values[f"ece{end}"] <= values[f"mce{end}"] <= 1
        assert 0 <= values[f"brier{end}"] <= 1


def test_brier_scores_and_curves_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    batch = example_batch()
    logits = example_logits(batch)
    metric = scored(logits, batch, bins=10)
    probability, share, _ = metric.compute_curve()
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        truth = batch.target[:, plane][batch.valid[:, 0]].numpy()
        p = logits[:, plane].sigmoid()[batch.valid[:, 0]].numpy()
        assert metric.compute()[f"brier{end}"] == pytest.approx(sk.brier_score_loss(truth, p), abs=1e-7)
        theirs_share, theirs_p = calibration_curve(truth, p, n_bins=10)
        filled = ~share[plane].isnan()
        assert share[plane][filled].numpy() == pytest.approx(theirs_share, abs=1e-6)
        assert probability[plane][filled].numpy() == pytest.approx(theirs_p, abs=1e-6)


def test_calibration_errors_agree_with_torchmetrics():
    tm = pytest.importorskip("torchmetrics.functional.classification")
    batch = example_batch()
    logits = example_logits(batch)
    values = scored(logits, batch, bins=15).compute()
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        inside = batch.valid[:, 0]
        pair = logits[:, plane].sigmoid()[inside], batch.target[:, plane][inside].long()
        for name, norm in (("ece", "l1"), ("mce", "max")):
            expected = tm.binary_calibration_error(*pair, n_bins=15, norm=norm).item()
            assert values[f"{name}{end}"] == pytest.approx(expected, abs=2e-6)
