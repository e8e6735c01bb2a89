from __future__ import annotations

import numpy as np
import pytest

from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.size_recorder import SizeRecorder
from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol.evaluation import evaluate_counts
from forestgaps_evaluation.run_report import figures


@pytest.fixture
def tile_counts(trained):
    return count_split(trained, "test", [2, 5, 10, 20])


@pytest.fixture
def rows(tile_counts):
    return [row for row in evaluate_counts([tile_counts]).rows if row.by == "all"]


def test_a_decision_threshold_of_one_half_gives_the_counts_of_the_map(tile_counts):
    np.testing.assert_array_equal(figures.count_by_decision_threshold(tile_counts)[:, 50], tile_counts.counts.sum(0))


def test_at_a_decision_threshold_of_0_all_pixels_are_gap(tile_counts):
    tp, fp, fn, tn = np.moveaxis(figures.count_by_decision_threshold(tile_counts), -1, 0)
    assert ((tp + fp)[:, 0] >= (tp + fp)[:, 1]).all()
    assert (tp + fp + fn + tn == tile_counts.valid_pixels.sum()).all()


def test_calibration_error_by_hand(tile_counts):
    reliability = np.zeros_like(tile_counts.reliability)
    reliability[:, 2] = [100, 12, 32]  # of 100 pixels given .12, .32 are gap
    reliability[:, 18] = [300, 270, 270]
    from attrs import evolve

    np.testing.assert_allclose(figures.compute_calibration_errors(evolve(tile_counts, reliability=reliability)), 20 / 400)


def test_cells_are_compared_by_their_gap_fractions(tile_counts):
    apart, bias, cells = figures.compute_cell_errors(tile_counts)
    found, _ = tile_counts.cell_fractions()
    assert cells == len(found) > 0
    np.testing.assert_allclose(apart, np.median(np.abs(found[..., 0] - found[..., 1]), axis=0))
    np.testing.assert_allclose(bias, (found[..., 0] - found[..., 1]).mean(0))


def test_there_is_a_chart_for_each_threshold_with_a_name_of_its_own(tile_counts, rows):
    sizes = [(GapSizes(np.array([1.0, 5.0])), GapSizes(np.array([2.0])))] * 4
    charts = [
        *figures.make_precision_charts(tile_counts, rows),
        *figures.make_decision_threshold_charts(tile_counts, rows),
        *figures.make_reliability_charts(tile_counts, rows),
        *figures.make_size_charts(sizes, rows),
        *figures.make_cell_charts(tile_counts, rows),
        figures.make_score_chart(rows),
        figures.make_fraction_chart(rows, [0.1] * 4),
    ]
    assert len({chart.name for chart in charts}) == len(charts) == 22
    assert all("nan" not in "".join(chart.parts).lower() for chart in charts)


def test_charts_of_nothing_are_empty_and_no_error(tile_counts, rows):
    from attrs import evolve

    nothing = evolve(
        tile_counts,
        counts=np.zeros_like(tile_counts.counts),
        curve=np.zeros_like(tile_counts.curve),
        reliability=np.zeros_like(tile_counts.reliability),
        cells=np.zeros_like(tile_counts.cells),
        cell_pixels=np.zeros_like(tile_counts.cell_pixels),
    )
    none = [(GapSizes(np.zeros(0)), GapSizes(np.zeros(0)))] * 4
    for charts in (
        figures.make_decision_threshold_charts(nothing, rows),
        figures.make_reliability_charts(nothing, rows),
        figures.make_cell_charts(nothing, rows),
        figures.make_size_charts(none, rows),
    ):
        assert not any("<circle" in part for chart in charts for part in chart.parts)


def test_sizes_are_seen_in_the_pass_that_counts(trained, tile_counts):
    watched = SizeRecorder.wrap(trained)
    again = count_split(watched, "test", [2, 5, 10, 20])
    np.testing.assert_array_equal(again.counts, tile_counts.counts)
    for (mapped, reference), counts in zip(watched.sizes(5.0), tile_counts.counts.sum(0), strict=True):
        assert mapped.areas_m2.sum() == 25 * (counts[0] + counts[1])
        assert reference.areas_m2.sum() == 25 * (counts[0] + counts[2])
