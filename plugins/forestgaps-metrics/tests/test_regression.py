from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_metrics.regression import compute_agreement, sum_regression_terms

UNIT = 1000
NUMBERS = st.lists(st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)), min_size=1, max_size=30)


def agreed(predicted, observed):
    planes = [torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1) for values in (predicted, observed)]
    return compute_agreement(sum_regression_terms(*planes, torch.ones((1, 1, 1, 1), dtype=torch.bool), UNIT)[0], UNIT)


def test_three_pairs_worked_by_hand():
    values = agreed([1.0, 2.0, 4.0], [1.0, 3.0, 5.0])
    assert values["mae"] == pytest.approx(2 / 3)
    assert values["rmse"] == pytest.approx(math.sqrt(2 / 3))
    assert values["bias"] == pytest.approx(-2 / 3)
    assert values["r2"] == pytest.approx(1 - 2 / 8)
    assert values["slope"] == pytest.approx(0.75)
    assert values["intercept"] == pytest.approx(7 / 3 - 0.75 * 3)


@settings(deadline=None)
@given(NUMBERS)
def test_values_are_those_of_numpy(pairs):
    p, o = (np.array(column) / UNIT for column in zip(*pairs, strict=True))
    values = agreed(p.tolist(), o.tolist())
    assert values["mae"] == pytest.approx(np.abs(p - o).mean(), abs=1e-9)
    assert values["rmse"] == pytest.approx(np.sqrt(((p - o) ** 2).mean()), abs=1e-9)
    assert values["bias"] == pytest.approx((p - o).mean(), abs=1e-9)
    if len(set(o)) == 1:
        assert all(math.isnan(values[name]) for name in ("r2", "slope", "intercept"))
    else:
        centered = o - o.mean()
        slope = (centered * p).sum() / (centered**2).sum()
        assert values["r2"] == pytest.approx(1 - ((p - o) ** 2).sum() / (centered**2).sum(), rel=1e-6, abs=1e-6)
        assert values["slope"] == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_values_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    o = generator.uniform(0, 30, 200).round(3)
    p = (o + generator.normal(0, 2, 200)).round(3)
    values = agreed(p.tolist(), o.tolist())
    assert values["r2"] == pytest.approx(sk.r2_score(o, p), rel=1e-9)
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(o, p), rel=1e-9)
    assert values["rmse"] == pytest.approx(sk.root_mean_squared_error(o, p), rel=1e-9)


def test_nothing_to_compare_is_nan():
    assert all(math.isnan(value) for value in compute_agreement(torch.zeros(7, dtype=torch.int64), UNIT).values())


def test_invalid_pixels_add_nothing_even_where_they_hold_no_number():
    p, o = torch.tensor([[[[1.0, math.nan]]]]), torch.tensor([[[[2.0, math.inf]]]])
    sums = sum_regression_terms(p, o, torch.tensor([[[[True, False]]]]), UNIT)
    assert sums.tolist() == [[1, 1000, 2000, 1000**2, 2000**2, 2000000, 1000]]
