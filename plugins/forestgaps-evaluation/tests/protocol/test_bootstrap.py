from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from forestgaps_evaluation.protocol import bootstrap
from forestgaps_evaluation.protocol.bootstrap import compute_interval, resample_blocks, sum_blocks
from forestgaps_evaluation.protocol.scores import compute_scores


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-50, 50)), min_size=1, max_size=30))
def test_tiles_are_added_up_by_block(tiles):
    blocks, values = [block for block, _ in tiles], np.array([value for _, value in tiles])
    expected = [sum(value for block, value in tiles if block == name) for name in sorted(set(blocks))]
    assert sum_blocks(values, blocks).tolist() == expected


def half_width(blocks, level):
    """Half the width of the interval of a score whose bootstrap standard error is 1."""
    values = np.array([-1.0, 1.0]) * np.sqrt((blocks - 1) / blocks)
    low, high = compute_interval(np.array(0.0), values, blocks, level)
    assert low == -high
    return float(high)


@pytest.mark.parametrize(("freedom", "golden"), [(1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (30, 2.042), (5000, 1.960)])
def test_compute_interval_golden_quantiles_of_student(freedom, golden):
    assert half_width(freedom + 1, 0.95) == pytest.approx(golden, abs=1e-3)


@given(t=st.floats(0, 50), freedom=st.integers(1, 200))
def test_compute_interval_level_is_the_probability_within_it(t, freedom):
    stats = pytest.importorskip("scipy.stats")
    level = float(stats.t.cdf(t, freedom) - stats.t.cdf(-t, freedom))
    assume(level < 1 - 1e-6)
    assert half_width(freedom + 1, level) == pytest.approx(t, rel=1e-6, abs=1e-6)


def test_few_blocks_widen_the_interval():
    values = np.random.default_rng(0).normal(0.5, 0.1, 4000)
    widths = [float(np.subtract(*compute_interval(np.array(0.5), values, blocks)[::-1])) for blocks in (2, 3, 5, 10, 30, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 12 * 2 * 0.1
    assert widths[-1] == pytest.approx(2 * 1.96 * 0.1, rel=0.03)


def test_blocks_that_are_all_alike_leave_no_doubt():
    sums = np.tile([30, 10, 20, 40], (7, 1))
    exact = float(compute_scores(sums.sum(0))["mean_iou"])
    low, high = compute_interval(np.array(exact), compute_scores(resample_blocks(sums, 200))["mean_iou"], 7)
    assert (float(low), float(high)) == pytest.approx((exact, exact), abs=1e-12)


def test_one_block_has_no_information_about_others():
    low, high = compute_interval(np.array([3.0, 4.0]), resample_blocks(np.array([[3, 4]]), 100), 1)
    assert np.isnan([*low, *high]).all()


def test_a_score_that_is_mostly_undefined_has_no_interval():
    values = np.full((100, 2), 0.5)
    values[:20, 0] = np.nan
    values[:5, 1] = np.nan
    low, high = compute_interval(np.array([0.5, 0.5]), values, 20)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (0.5, 0.5)


def test_resamples_keep_the_number_of_blocks_and_follow_the_seed(monkeypatch):
    sums = np.arange(12).reshape(6, 2)
    sums[:, 1] = 1
    first = resample_blocks(sums, 50, seed=3)
    assert first.shape == (50, 2)
    assert (first[:, 1] == 6).all()
    assert np.array_equal(first, resample_blocks(sums, 50, seed=3))
    assert not np.array_equal(first, resample_blocks(sums, 50, seed=4))
    monkeypatch.setattr(bootstrap, "MAX_WEIGHTS", 60)
    assert np.array_equal(first, resample_blocks(sums, 50, seed=3)), "how much is held in memory at once changes nothing"


@pytest.mark.parametrize("blocks", [3, 5, 12, 40])
def test_it_holds_the_truth_at_its_nominal_rate(blocks):
    # Blocks with a quality of their own, so that pixels of a block are anything but independent.
    generator, trials = np.random.default_rng(blocks), 400
    fraction, quality = 0.3, generator.beta(8, 4, (trials, blocks))
    gaps = generator.binomial(400, fraction, (trials, blocks))
    tp = generator.binomial(gaps, quality)
    fp = generator.binomial(1000 - gaps, 0.3 * (1 - quality))
    counts = np.stack([tp, fp, gaps - tp, 1000 - gaps - fp], axis=-1)
    right = 8 / 12
    # Expected counts of a block: 400 * fraction gaps of 1000 pixels.
    expected = 400 * fraction
    wrong = 0.3 * (1 - right) * (1000 - expected)
    truth = float(compute_scores(np.array([expected * right, wrong, expected * (1 - right), 1000 - expected - wrong]))["gap_iou"])
    held = 0
    for trial in counts:
        low, high = compute_interval(
            compute_scores(trial.sum(0))["gap_iou"], compute_scores(resample_blocks(trial, 400))["gap_iou"], blocks
        )
        held += low <= truth <= high
    assert 0.91 <= held / trials <= 0.98
