from __future__ import annotations

import csv
import os
from math import inf, isnan, log
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import zeta
from scipy.stats import zipf

from forestgaps_gaps.statistics.power_law import (
    compute_ks_distance,
    compute_survival_function,
    estimate_lambda_asner,
    estimate_lambda_hanel,
    fit_power_law,
    log_mass,
    log_zeta,
    sample_sizes,
)
from forestgaps_geo.gap_areas import count_min_pixels
from forestgaps_geo.gap_labeling import label_array

SURVEYS = Path(os.environ.get("FORESTGAPS_DATA", ""))
FOLDERS = {"ALS_CHM_DUC": "br_ducke", "ALS_CHM_CAU_2012": "br_cauaxi_2012", "ALS_CHM_CAU_2014": "br_cauaxi_2014"}


# --- ForestGapR -----------------------------------------------------------------------------------------------------


@pytest.mark.surveys
@pytest.mark.parametrize("layer", FOLDERS)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_both_lambdas_of_forestgapr_are_reproduced(layer) -> None:
    with rasterio.open(SURVEYS / FOLDERS[layer] / "chm.tif") as file:
        height, pixel_m2 = file.read(1, masked=True).filled(np.inf), abs(file.transform.a * file.transform.e)
    with (SURVEYS / "golden_gaps.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == layer]
    assert len(rows) == 8
    for row in rows:
        areas = np.bincount(label_array(height <= float(row["threshold"])).ravel())[1:] * pixel_m2
        areas = areas[(areas >= float(row["smin"])) & (areas <= float(row["smax"]))]
        assert len(areas) == int(row["n_gaps"])
        assert estimate_lambda_hanel(areas) == pytest.approx(float(row["lambda_hanel"]), abs=1e-6)
        assert estimate_lambda_asner(areas) == pytest.approx(float(row["lambda_asner"]), abs=1e-3)


def test_lambda_hanel_is_its_formula() -> None:
    assert estimate_lambda_hanel(np.array([2.0, 2.0, 4.0, 8.0])) == pytest.approx(1 + 4 / (3 * log(2)))


def test_lambda_asner_is_where_the_zeta_likelihood_is_largest() -> None:
    areas = np.array([1, 1, 1, 2, 3, 9])
    exponents = np.linspace(1.1, 5, 40_000)
    likelihood = -exponents * np.log(areas).sum() - len(areas) * np.log(zeta(exponents))
    assert estimate_lambda_asner(areas) == pytest.approx(exponents[likelihood.argmax()], abs=2e-4)


def test_estimators_of_nothing_are_nothing() -> None:
    assert isnan(estimate_lambda_hanel(np.empty(0))) and isnan(estimate_lambda_asner(np.empty(0)))
    assert isnan(estimate_lambda_hanel(np.full(20, 7.0))), "one size has no slope"


# --- the law itself -------------------------------------------------------------------------------------------------


def test_the_law_is_scipys_zipf_from_one_on() -> None:
    sizes = np.arange(1, 200)
    assert compute_survival_function(sizes, 2.3, 1, None) == pytest.approx(zipf.sf(sizes, 2.3), rel=1e-9)


@given(st.floats(1.1, 6), st.integers(1, 50), st.integers(1, 300))
def test_the_law_sums_to_one_within_its_limits(exponent, smallest, span) -> None:
    largest = smallest + span
    sizes = np.arange(smallest, largest + 1)
    assert np.exp(-exponent * np.log(sizes) - log_mass(exponent, smallest, largest)).sum() == pytest.approx(1, rel=1e-7)
    assert compute_survival_function(sizes[-1:], exponent, smallest, largest) == pytest.approx(0, abs=1e-9)
    assert compute_survival_function(np.array([smallest - 1]), exponent, smallest, largest) == pytest.approx(1, rel=1e-9)


def test_sums_too_small_for_a_float_keep_their_logarithm() -> None:
    assert zeta(90.0, 1e5) == 0
    assert log_zeta(90.0, 1e5) == pytest.approx(-90 * log(1e5) + log(1e5 / 89), rel=1e-3)
    near = [float(log_zeta(exponent, 2000.0)) for exponent in (78.9, 79.0, 79.1)]  # on either side of where the way changes
    assert near[0] - near[1] == pytest.approx(near[1] - near[2], rel=1e-3)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([1.6, 2.0, 2.7]), st.sampled_from([1, 7, 40]))
def test_sampled_sizes_follow_the_law(seed, exponent, smallest) -> None:
    sizes = sample_sizes(exponent, 4000, smallest, None, np.random.default_rng(seed))
    assert sizes.min() >= smallest
    assert compute_ks_distance(sizes, exponent, smallest, None) < 0.04, "2.5 times the usual largest distance of 4000"


def test_far_sizes_are_sampled_beyond_the_table() -> None:
    sizes = sample_sizes(1.5, 20_000, 1, None, np.random.default_rng(0))
    assert (sizes > 1_000_000).mean() == pytest.approx(
        float(compute_survival_function(np.array([1_000_000]), 1.5, 1, None)[0]), rel=0.5
    )
    assert sample_sizes(1.5, 20_000, 1, 500_000, np.random.default_rng(0)).max() <= 500_000


# --- exponents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1.6, 2.0, 2.7])
@pytest.mark.parametrize(("smallest", "largest"), [(1, None), (40, None), (10, 2000)])
def test_the_interval_covers_the_exponent_at_its_nominal_rate(exponent, smallest, largest) -> None:
    samples, covered = sample_sizes(exponent, 100 * 120, smallest, largest, np.random.default_rng(5)).reshape(100, 120), 0
    for sample in samples:
        fit = fit_power_law(sample, smallest, largest)
        covered += fit.low <= exponent <= fit.high
        assert fit.low < fit.exponent < fit.high
    assert 88 <= covered <= 100, "of 100; binomial with 0.95"


def test_left_out_large_gaps_do_not_steepen_the_law() -> None:
    sizes = sample_sizes(1.7, 4000, 5, None, np.random.default_rng(2))
    cut = sizes[sizes <= 300]
    told, untold = fit_power_law(cut, 5, 300), fit_power_law(cut, 5)
    assert told.low < 1.7 < told.high
    assert untold.low > 1.8


def test_the_exponent_is_where_the_likelihood_is_largest() -> None:
    sizes = sample_sizes(2.2, 80, 3, None, np.random.default_rng(1))
    fit = fit_power_law(sizes, 3)
    exponents = np.linspace(1.2, 4, 28_001)
    likelihood = -exponents * np.log(sizes).sum() - len(sizes) * np.log(zeta(exponents, 3))
    assert fit.exponent == pytest.approx(exponents[likelihood.argmax()], abs=1e-4)
    inside = exponents[likelihood.max() - likelihood < 1.92073]
    assert (fit.low, fit.high) == pytest.approx((inside[0], inside[-1]), abs=2e-4)
    assert fit.likelihood == pytest.approx(likelihood.max(), abs=1e-6)
    assert fit.standard_error == pytest.approx((inside[-1] - inside[0]) / 2 / 1.96, rel=0.1)


def test_golden_standard_error_of_the_discrete_law() -> None:
    """Clauset et al. 2009, eq. 3.6: 1 / sqrt(n (zeta''/zeta - (zeta'/zeta)^2))."""
    fit = fit_power_law(sample_sizes(2.5, 500, 4, None, np.random.default_rng(3)), 4)
    x = np.arange(4, 2_000_000, dtype=float)
    p = x**-fit.exponent / (x**-fit.exponent).sum()
    variance = (p * np.log(x) ** 2).sum() - (p * np.log(x)).sum() ** 2
    assert fit.standard_error == pytest.approx(1 / np.sqrt(500 * variance), rel=1e-3)


def test_far_from_the_pixel_size_the_exponent_is_that_of_a_pareto_distribution() -> None:
    sizes = sample_sizes(2.0, 500, 1000, None, np.random.default_rng(4))
    assert fit_power_law(sizes, 1000).exponent == pytest.approx(1 + 1 / np.log(sizes / 999.5).mean(), rel=1e-4)


def test_the_distance_is_that_of_slow_plain_lines() -> None:
    sizes = sample_sizes(1.9, 60, 2, None, np.random.default_rng(6))
    fit, largest = fit_power_law(sizes, 2), 0.0
    for x in range(2, int(sizes.max()) + 1):
        law = sum(k**-fit.exponent for k in range(2, x + 1)) / zeta(fit.exponent, 2)
        largest = max(largest, abs((sizes <= x).mean() - law))
    assert fit.distance == pytest.approx(largest, abs=1e-9)


def test_a_power_law_is_plausible_and_a_lognormal_is_not() -> None:
    random = np.random.default_rng(8)
    assert fit_power_law(sample_sizes(1.9, 300, 5, None, random), 5, seed=1).plausibility > 0.1
    bell = random.lognormal(4, 0.8, 300).astype(int)
    assert fit_power_law(bell, 10, seed=1).plausibility < 0.05


def test_the_seed_decides_the_plausibility() -> None:
    sizes = sample_sizes(1.9, 60, 5, None, np.random.default_rng(9))
    assert fit_power_law(sizes, 5, seed=1) == fit_power_law(sizes, 5, seed=1)
    assert isnan(fit_power_law(sizes, 5).plausibility)


@given(st.lists(st.integers(1, 10_000), min_size=0, max_size=60), st.integers(1, 20))
def test_either_an_exponent_or_a_reason(sizes, smallest) -> None:
    fit = fit_power_law(np.array(sizes, int), smallest)
    assert fit.gaps == sum(size >= smallest for size in sizes)
    if fit.why is None:
        assert 1 <= fit.low < fit.exponent < fit.high
        assert 0 <= fit.distance <= 1
    else:
        assert isnan(fit.exponent)


def test_reasons_are_sentences() -> None:
    assert fit_power_law(np.array([5]), 1).why == "1 gap within the limits; an exponent requires at least 10"
    assert fit_power_law(np.full(30, 4)).why == "all 30 gaps have the same size"
    assert "smallest size" in str(fit_power_law(np.array([100_000] * 400 + [100_001]), 100_000).why)


@pytest.mark.parametrize(("area", "resolution", "pixels"), [(1, 1, 1), (10, 0.5, 40), (5, 0.7, 11), (0, 1, 1), (0.3, 0.1, 30)])
def test_the_smallest_gap_in_pixels(area, resolution, pixels) -> None:
    assert count_min_pixels(area, resolution**2) == pixels


def test_agrees_with_the_package_powerlaw() -> None:
    powerlaw = pytest.importorskip("powerlaw")
    sizes = sample_sizes(1.85, 400, 6, None, np.random.default_rng(11))
    reference = powerlaw.Fit(sizes, xmin=6, discrete=True, verbose=False).power_law
    fit = fit_power_law(sizes, 6)
    assert fit.exponent == pytest.approx(reference.alpha, abs=2e-3)
    assert fit.distance == pytest.approx(reference.D, abs=2e-3)
    assert fit.high < inf
