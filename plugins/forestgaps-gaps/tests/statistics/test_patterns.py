from __future__ import annotations

import json
from math import hypot, isnan, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import DataError
from forestgaps_gaps.statistics import ripley as ripley_module
from forestgaps_gaps.statistics import window as window_module
from forestgaps_gaps.statistics.clark_evans import compute_clark_evans, simulate_clark_evans
from forestgaps_gaps.statistics.ripley import compute_ripley, estimate_k, interpolate_overlap, limit_reach, to_json_values
from forestgaps_gaps.statistics.window import Window, WindowCounter, make_window


def rectangle(rows: int = 100, columns: int = 160, resolution: float = 1.0) -> Window:
    return make_window(np.ones((rows, columns), bool), resolution)


def an_l() -> Window:
    mask = np.ones((100, 100), bool)
    mask[:50, 50:] = False
    return make_window(mask, 1.0)


def clusters(window: Window, parents: int, children: int, spread: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    middle = np.repeat(window.sample_points(parents, random), children, axis=0)
    return middle + random.normal(0, spread, middle.shape)


# --- the surveyed area ----------------------------------------------------------------------------------------------


def test_a_window_knows_its_area_and_outline() -> None:
    assert (rectangle().area_m2, rectangle().perimeter_m, rectangle().is_rectangle) == (16_000, 520, True)
    assert (an_l().area_m2, an_l().perimeter_m, an_l().is_rectangle) == (7500, 400, False)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 23), st.floats(0.1, 4))
def test_strips_make_the_same_window_as_the_whole(seed, step, resolution) -> None:
    mask = np.random.default_rng(seed).random((23, 31)) < 0.6
    counter = WindowCounter(*mask.shape, resolution)
    for row in range(0, 23, step):
        counter.add(row, mask[row : row + step])
    assert np.array_equal(counter.make_window().fraction, mask)
    assert counter.make_window().area_m2 == pytest.approx(mask.sum() * resolution**2)


def test_large_surveys_become_coarse_cells_of_the_same_area(monkeypatch) -> None:
    monkeypatch.setattr(window_module, "MAX_WINDOW_CELLS", 8)
    mask = np.random.default_rng(0).random((30, 45)) < 0.7
    window = make_window(mask, 0.5)
    assert window.fraction.shape == (5, 8)
    assert window.cell_m == 3.0
    assert window.area_m2 == pytest.approx(mask.sum() * 0.25)


def test_random_points_fall_where_the_survey_is() -> None:
    mask = np.random.default_rng(1).random((40, 60)) < 0.3
    points = make_window(mask, 2.0).sample_points(5000, np.random.default_rng(2))
    column, row = (points // 2).astype(int).T
    assert mask[row, column].all()
    hits = np.bincount(row * 60 + column, minlength=2400)[mask.ravel()]
    assert hits.var() / hits.mean() == pytest.approx(1, abs=0.2), "as a Poisson count"


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(-5, 5), st.integers(-5, 5))
def test_the_overlap_with_a_moved_window_is_counted_exactly(seed, down, right) -> None:
    mask = np.random.default_rng(seed).random((20, 25)) < 0.6
    table = make_window(mask, 1.0).compute_overlap(6.0)
    framed = np.pad(mask, 6)
    moved = np.roll(framed, (down, right), (0, 1))
    found = interpolate_overlap(table, np.array([[right, down]], float))[0]
    assert found == pytest.approx((framed & moved).sum(), abs=1e-6)


def test_between_whole_cells_the_overlap_of_a_rectangle_is_that_of_rectangles() -> None:
    apart = np.array([[3.3, -4.7], [0.5, 0.25], [-9.9, 2.0]])
    found = interpolate_overlap(rectangle().compute_overlap(12.0), apart)
    assert found == pytest.approx((160 - np.abs(apart[:, 0])) * (100 - np.abs(apart[:, 1])))


# --- Clark and Evans ------------------------------------------------------------------------------------------------


def test_golden_ratios_of_regular_patterns() -> None:
    y, x = np.mgrid[:60, :60]
    square = np.stack([x.ravel(), y.ravel()], 1) * 10.0 + 5
    assert compute_clark_evans(square, 600.0**2, 4 * 600).ratio == pytest.approx(2, rel=0.01)
    hexagonal = np.stack([(x + 0.5 * (y % 2)).ravel() * 10, y.ravel() * 5 * sqrt(3)], 1)
    found = compute_clark_evans(hexagonal, 600 * 300 * sqrt(3), 2 * (600 + 300 * sqrt(3)))
    assert found.ratio == pytest.approx(2.149, rel=0.01)
    assert found.z > 40 and found.p < 1e-9


def test_random_points_are_called_random_as_often_as_promised() -> None:
    window, random = rectangle(), np.random.default_rng(3)
    found = [compute_clark_evans(window.sample_points(100, random), window.area_m2, window.perimeter_m) for _ in range(400)]
    assert np.mean([one.ratio for one in found]) == pytest.approx(1, abs=0.01), "without the edge correction it is 1.05"
    assert np.std([one.z for one in found]) == pytest.approx(1, abs=0.12)
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.05, abs=0.035)


def test_clusters_are_below_one_and_both_ways_agree() -> None:
    window = rectangle()
    points = clusters(window, 20, 8, 1.5)
    asymptotic, simulated = compute_clark_evans(points, window.area_m2, window.perimeter_m), simulate_clark_evans(points, window)
    assert asymptotic.ratio < 0.6 and asymptotic.p < 1e-6
    assert simulated.ratio == pytest.approx(asymptotic.ratio, rel=0.02)
    assert simulated.z == pytest.approx(asymptotic.z, rel=0.2)
    assert simulated.p == pytest.approx(2 / 200)


def test_the_outline_of_the_survey_is_no_clustering() -> None:
    window, random = an_l(), np.random.default_rng(4)
    found = [simulate_clark_evans(window.sample_points(80, random), window, simulations=99, seed=i) for i in range(40)]
    assert np.mean([one.ratio for one in found]) == pytest.approx(1, abs=0.03)
    assert sum(one.p < 0.05 for one in found) <= 6


def test_the_nearest_distance_is_that_of_slow_plain_lines() -> None:
    points = rectangle().sample_points(40, np.random.default_rng(5))
    nearest = [min(hypot(*(a - b)) for j, b in enumerate(points) if j != i) for i, a in enumerate(points)]
    found = compute_clark_evans(points, 16_000, 520)
    assert found.observed_m == pytest.approx(np.mean(nearest))
    expected = 0.5 * sqrt(16_000 / 40) + (0.0514 + 0.041 / sqrt(40)) * 520 / 40
    assert (found.expected_m, found.ratio) == pytest.approx((expected, np.mean(nearest) / expected))


@given(st.floats(0.1, 100), st.floats(-1e6, 1e6))
def test_the_ratio_does_not_depend_on_unit_or_place(scale, shift) -> None:
    points = rectangle().sample_points(30, np.random.default_rng(6))
    found = compute_clark_evans(points * scale + shift, 16_000 * scale**2, 520 * scale)
    assert found.ratio == pytest.approx(compute_clark_evans(points, 16_000, 520).ratio, rel=1e-4)


def test_few_gaps_have_no_pattern_but_a_reason() -> None:
    for found in (
        compute_clark_evans(np.zeros((1, 2)), 100, 40),
        simulate_clark_evans(np.zeros((1, 2)), rectangle()),
        compute_ripley(np.zeros((1, 2)), rectangle()),
    ):
        assert found.why == "1 gap; a pattern requires at least 10"
        assert isnan(found.p)
    assert compute_clark_evans(np.empty((0, 2)), 100, 40).why == "0 gaps; a pattern requires at least 10"


# --- Ripley ---------------------------------------------------------------------------------------------------------


def test_k_is_that_of_slow_plain_lines() -> None:
    window = an_l()
    points = window.sample_points(30, np.random.default_rng(7))
    mask, radii = window.fraction > 0, np.array([3.0, 7.5, 12.0])
    expected = np.zeros(3)
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if i != j and hypot(*(a - b)) <= 12:
                # the share of the window moved by a - b, by very many points
                fine = (np.stack(np.nonzero(np.kron(mask, np.ones((4, 4)))), 1)[:, ::-1] + 0.5) / 4 + (a - b)
                inside = ((fine >= 0) & (fine < 100)).all(1)
                column, row = fine[inside].astype(int).T
                expected += (hypot(*(a - b)) <= radii) / (mask[row, column].sum() / 16)
    expected *= 7500**2 / (30 * 29)
    assert estimate_k(points, radii, window, window.compute_overlap(12.0)) == pytest.approx(expected, rel=0.01)


def test_k_of_random_points_is_that_of_a_disc_whatever_the_outline() -> None:
    radii = np.linspace(5, 20, 7)
    for window in (rectangle(), an_l()):
        overlap, random = window.compute_overlap(20.0), np.random.default_rng(8)
        mean = np.mean([estimate_k(window.sample_points(80, random), radii, window, overlap) for _ in range(200)], axis=0)
        assert mean == pytest.approx(pi * radii**2, rel=0.05)


def test_clusters_leave_the_envelopes_above_and_grids_below() -> None:
    window = rectangle()
    clustered = compute_ripley(np.clip(clusters(window, 15, 8, 2.0), 0, [159.9, 99.9]), window, seed=1)
    assert (clustered.l > clustered.l_high)[5:20].all()
    assert clustered.p == 0.01
    y, x = np.mgrid[:10, :16]
    even = compute_ripley(np.stack([x.ravel(), y.ravel()], 1) * 10.0 + 5, window, seed=1)
    assert (even.k[even.r_m < 9.9] == 0).all()
    assert (even.l < even.l_low)[10:17].all()
    assert even.p == 0.01


def test_random_points_stay_within_as_a_whole_curve() -> None:
    window, random = an_l(), np.random.default_rng(9)
    p = [compute_ripley(window.sample_points(50, random), window, simulations=39, steps=20, seed=i).p for i in range(40)]
    assert sum(value <= 0.05 for value in p) <= 6
    assert 0.25 < np.mean(p) < 0.75


def test_l_is_the_root_of_k_and_the_envelopes_are_ordered() -> None:
    found = compute_ripley(rectangle().sample_points(60, np.random.default_rng(10)), rectangle(), simulations=19)
    assert found.l == pytest.approx(np.sqrt(found.k / pi))
    assert (found.l_low <= found.l_high).all() and (found.k_low <= found.k_high).all()
    assert found.r_m[-1] == 25
    assert len(found.r_m) == 50


def test_the_seed_decides_the_envelopes() -> None:
    points = rectangle().sample_points(40, np.random.default_rng(11))
    one, same, other = (compute_ripley(points, rectangle(), simulations=9, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.l_high, same.l_high) and one.p == same.p
    assert not np.array_equal(one.l_high, other.l_high)


def test_many_gaps_shorten_the_reach_instead_of_filling_memory(monkeypatch) -> None:
    monkeypatch.setattr(ripley_module, "MAX_PAIRS", 2000)
    points = clusters(rectangle(), 10, 100, 2.0)
    reach = limit_reach(points, 25.0)
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    pairs = ((distances <= reach).sum() - len(points)) // 2
    assert 1000 < pairs <= 2000
    assert limit_reach(points[:20], 25.0) == 25.0


def test_a_reach_beyond_the_survey_is_refused() -> None:
    with pytest.raises(DataError, match=r"100 m wide\. Choose a distance of at most 50 m"):
        compute_ripley(np.zeros((20, 2)), rectangle(), reach_m=60)


def test_json_holds_it_all() -> None:
    points = rectangle().sample_points(30, np.random.default_rng(12))
    for found in (
        compute_clark_evans(points, 16_000, 520),
        compute_ripley(points, rectangle(), simulations=9),
        compute_clark_evans(points[:2], 1, 1),
    ):
        assert json.loads(json.dumps(to_json_values(found), allow_nan=False))["why"] == found.why
