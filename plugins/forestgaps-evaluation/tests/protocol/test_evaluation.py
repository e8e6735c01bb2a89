from __future__ import annotations

import math

import attrs
import numpy as np
import pytest

from forestgaps_core.errors import DataError
from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol.comparison import compare_mean_iou
from forestgaps_evaluation.protocol.evaluation import evaluate_counts
from forestgaps_evaluation.protocol.scores import SCORES, compute_scores

LEVELS = (2.0, 5.0, 10.0, 20.0, 30.0)


@pytest.fixture
def tile_counts(trained):
    return count_split(trained, "test", LEVELS)


def moved(tile_counts, pixels):
    """As another seed might have it: so many gap pixels missed that were found, in every tile and threshold that has them."""
    counts = tile_counts.counts.copy()
    taken = np.minimum(counts[..., 0], pixels)
    counts[..., 0] -= taken
    counts[..., 2] += taken
    return attrs.evolve(tile_counts, run=f"seed {pixels}", seed=pixels, counts=counts)


def test_a_run_by_itself(tile_counts):
    found = evaluate_counts([tile_counts], resamples=200)
    rows = [row for row in found.rows if row.by == "all"]
    assert [row.threshold for row in rows] == list(LEVELS)
    assert (rows[0].tiles, rows[0].blocks, rows[0].pixels) == (8, 4, int(tile_counts.valid_pixels.sum()))
    exact = compute_scores(tile_counts.counts.sum(0))
    for k, row in enumerate(rows):
        assert tuple(row.scores) == SCORES
        for name in ("gap_iou", "mean_iou"):
            score = row.scores[name]
            assert score.mean == score.each[0] == pytest.approx(float(exact[name][k]), nan_ok=True)
            assert math.isnan(score.spread), "one run has no spread"
            assert math.isnan(score.low) or score.low <= score.mean <= score.high
    assert [row.extrapolated for row in rows] == [False] * 4 + [True]
    assert "only 4 spatial blocks, so the intervals are wide" in found.notes


def test_thresholds_of_extreme_prevalence_are_shown_and_left_out_of_the_mean(tile_counts):
    found = evaluate_counts([tile_counts], resamples=100)
    rows = [row for row in found.rows if row.by == "all"]
    assert [row.evaluated for row in rows] == [True, True, True, False, False]
    assert rows[4].gap_fraction == 1.0
    whole = found.overall[0]
    assert whole.thresholds == (2.0, 5.0, 10.0)
    assert whole.mean_iou.mean == pytest.approx(np.mean([row.scores["mean_iou"].mean for row in rows[:3]]))
    assert whole.baseline == pytest.approx(np.mean([row.baseline["mean_iou"] for row in rows[:3]]))
    assert whole.mean_iou.low < whole.mean_iou.mean < whole.mean_iou.high


def test_several_seeds_have_a_mean_and_a_spread(tile_counts):
    runs = [tile_counts, moved(tile_counts, 5), moved(tile_counts, 20)]
    found = evaluate_counts(runs, resamples=100)
    score = found.rows[0].scores["gap_recall"]
    each = [float(compute_scores(run.counts.sum(0))["gap_recall"][0]) for run in runs]
    assert score.each == pytest.approx(each)
    assert score.mean == pytest.approx(np.mean(each))
    assert score.spread == pytest.approx(np.std(each, ddof=1))
    assert [run["seed"] for run in found.runs] == [4, 5, 20]


def test_the_same_seed_thrice_has_no_spread_and_the_interval_of_one(tile_counts):
    one, three = (evaluate_counts([tile_counts] * count, resamples=100).rows[1].scores["mean_iou"] for count in (1, 3))
    assert three.spread == pytest.approx(0, abs=1e-12)
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_strata_add_up_to_the_whole(tile_counts):
    found = evaluate_counts([tile_counts], resamples=100)
    whole = {row.threshold: row for row in found.rows if row.by == "all"}
    for by in ("site", "slope", "canopy cover"):
        for level in LEVELS:
            parts = [row for row in found.rows if row.by == by and row.threshold == level]
            assert sum(row.pixels for row in parts) == whole[level].pixels
            gaps = sum(row.pixels * row.gap_fraction for row in parts)
            assert gaps == pytest.approx(whole[level].pixels * whole[level].gap_fraction)
    assert [(part.by, part.label) for part in found.overall] == list(dict.fromkeys((row.by, row.label) for row in found.rows))


def test_errors_of_height(tile_counts):
    found = evaluate_counts([tile_counts], resamples=100).heights
    bias, size, square = tile_counts.height_errors.sum(0) / tile_counts.valid_pixels.sum()
    assert {name: score.mean for name, score in found.items()} == pytest.approx(
        {"mae_m": size, "rmse_m": math.sqrt(square), "bias_m": bias}
    )
    assert evaluate_counts([attrs.evolve(tile_counts, height_errors=None)], resamples=100).heights == {}


def test_runs_of_different_tiles_are_not_averaged(tile_counts, trained):
    validation = count_split(trained, "validation", LEVELS)
    for other, said in [
        (attrs.evolve(validation, split="test"), "their gap pixels differ"),
        (validation, "8 validation tiles"),
        (tile_counts.select(np.arange(3)), "8 test tiles and 3 test tiles"),
        (count_split(trained, "test", (2.0,)), "at different thresholds"),
    ]:
        with pytest.raises(DataError, match=said):
            evaluate_counts([tile_counts, other])


def test_a_difference_is_taken_on_the_same_resamples_of_blocks(tile_counts):
    same, average = compare_mean_iou([tile_counts, tile_counts], tile_counts, resamples=100)
    assert (average.difference, average.low, average.high) == (0, 0, 0)
    assert all(one.difference == 0 for one in same[:3])
    assert all((one.low, one.high) == (0, 0) for one in same[:3])
    better, average = compare_mean_iou([tile_counts], moved(tile_counts, 30), resamples=100)
    assert all(one.difference == one.network - one.baseline > 0 for one in better[:3])
    assert all(0 < one.low <= one.difference <= one.high for one in better[:3])
    evaluated = [one for one in better if one.evaluated]
    assert average.difference == pytest.approx(sum(one.difference for one in evaluated) / len(evaluated))
