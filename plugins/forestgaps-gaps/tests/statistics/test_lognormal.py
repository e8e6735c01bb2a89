from __future__ import annotations

from math import erfc, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import lognorm, norm

from forestgaps_gaps.statistics.lognormal import compare_fits, fit_lognormal, log_normal_mass, log_probabilities
from forestgaps_gaps.statistics.power_law import fit_power_law, sample_sizes


def test_probabilities_are_those_of_scipy_within_the_limits() -> None:
    sizes, law = np.arange(5, 3000), lognorm(s=1.1, scale=np.exp(3.0))
    expected = (law.cdf(sizes + 0.5) - law.cdf(sizes - 0.5)) / (law.cdf(2999.5) - law.cdf(4.5))
    assert np.exp(log_probabilities(sizes, 3.0, 1.1, 5, 2999)) == pytest.approx(expected, rel=1e-6)
    assert np.exp(log_probabilities(sizes, 3.0, 1.1, 5, 2999)).sum() == pytest.approx(1, rel=1e-9)


@given(st.floats(-30, 30), st.floats(1e-3, 5))
def test_the_normal_between_two_places_is_exact_in_both_tails(low, width) -> None:
    found = float(log_normal_mass(np.array(low), np.array(low + width)))
    mirrored = float(log_normal_mass(np.array(-low - width), np.array(-low)))
    assert found == pytest.approx(mirrored, rel=1e-9, abs=1e-9)
    if -5 < low < 5:
        assert np.exp(found) == pytest.approx(norm.cdf(low + width) - norm.cdf(low), rel=1e-6, abs=1e-12)


def test_a_lognormal_is_found_again_above_its_smallest_size() -> None:
    sizes = np.round(np.random.default_rng(1).lognormal(4.0, 1.2, 4000)).astype(int)
    fit = fit_lognormal(sizes, 10)
    assert fit.location == pytest.approx(4.0, abs=0.12)
    assert fit.scale == pytest.approx(1.2, abs=0.08)
    assert fit.gaps == (sizes >= 10).sum()


def test_no_other_lognormal_is_likelier() -> None:
    sizes = np.round(np.random.default_rng(2).lognormal(3.0, 1.0, 300)).astype(int)
    fit = fit_lognormal(sizes, 5, 400)
    kept = sizes[(sizes >= 5) & (sizes <= 400)]
    assert fit.likelihood == pytest.approx(log_probabilities(kept, fit.location, fit.scale, 5, 400).sum(), abs=1e-6)
    for location in np.linspace(fit.location - 1, fit.location + 1, 21):
        for scale in np.linspace(fit.scale * 0.6, fit.scale * 1.6, 21):
            assert log_probabilities(kept, location, scale, 5, 400).sum() <= fit.likelihood + 1e-4


def test_each_kind_of_data_is_called_by_its_name() -> None:
    random = np.random.default_rng(3)
    bell = np.round(random.lognormal(4, 0.9, 600)).astype(int)
    verdict = compare_fits(bell, fit_power_law(bell, 8), fit_lognormal(bell, 8))
    assert verdict.better == "lognormal"
    assert verdict.ratio < 0 and verdict.z < -3
    steep = sample_sizes(1.9, 600, 8, None, random)
    assert compare_fits(steep, fit_power_law(steep, 8), fit_lognormal(steep, 8)).better != "lognormal"


def test_power_laws_are_seldom_called_lognormal() -> None:
    wrong = 0
    for sizes in sample_sizes(1.8, 40 * 150, 5, None, np.random.default_rng(4)).reshape(40, 150):
        wrong += compare_fits(sizes, fit_power_law(sizes, 5), fit_lognormal(sizes, 5)).better == "lognormal"
    assert wrong <= 6


def test_vuongs_statistic_is_its_formula() -> None:
    sizes = sample_sizes(2.1, 100, 1, None, np.random.default_rng(5))
    power, bell = fit_power_law(sizes, 1), fit_lognormal(sizes, 1)
    verdict = compare_fits(sizes, power, bell)
    assert verdict.ratio == pytest.approx(power.likelihood - bell.likelihood, abs=1e-6)
    assert verdict.p == pytest.approx(erfc(abs(verdict.z) / sqrt(2)))


def test_what_has_no_fit_has_no_verdict() -> None:
    few = np.array([3, 9, 20])
    verdict = compare_fits(few, fit_power_law(few), fit_lognormal(few))
    assert isnan(verdict.ratio) and verdict.better is None
    assert "at least 10" in str(fit_lognormal(few).why)


def test_agrees_with_the_package_powerlaw() -> None:
    powerlaw = pytest.importorskip("powerlaw")
    sizes = np.round(np.random.default_rng(6).lognormal(3.5, 1.0, 500)).astype(int)
    fit = powerlaw.Fit(sizes, xmin=10, discrete=True, verbose=False)
    ratio, p = fit.distribution_compare("power_law", "lognormal", normalized_ratio=True)
    verdict = compare_fits(sizes, fit_power_law(sizes, 10), fit_lognormal(sizes, 10))
    assert verdict.z == pytest.approx(float(ratio), abs=0.1)
    assert verdict.p == pytest.approx(float(p), abs=0.01)
