"""Power laws of gap sizes: exponents by maximum likelihood, with confidence intervals and goodness of fit.

The sizes of gaps on a raster are whole numbers of pixels, so `fit_power_law` fits a discrete law: P(x) is proportional to
x^-exponent over x = smallest, smallest + 1, ... (to `largest`, if larger gaps were left out). An exponent depends on the height
threshold, the smallest gap and the pixel size. Report it with them.

Sources: Clauset, Shalizi & Newman 2009, SIAM Review 51(4), doi 10.1137/070710111; for `lambda_hanel` and `lambda_asner`, the
R package ForestGapR (`GapSizeFDist`) and the papers it follows, Hanel et al. 2017 doi 10.1371/journal.pone.0170920 and
Asner et al. 2013 doi 10.1371/journal.pone.0060875.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, inf, log, nan, sqrt
from typing import Any, TypeAlias

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import zeta

from forestgaps_core.output.counts import format_count

Sizes: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]

MIN_GAPS = 10  # with fewer gaps, an interval contains all published exponents
MIN_EXPONENT = 1 + 1e-6
MAX_EXPONENT = 30.0  # a larger exponent means that nearly all gaps have the smallest size
HALF_CHI = 1.9207294103470265  # half the 95 % quantile of chi-squared with one degree of freedom
SIMULATIONS = 99  # samples from the fitted law, for the goodness of fit
TABLE_SIZES = 100_000  # sizes in the table for sampling; for larger ones, the continuous law is correct to 1e-10


@frozen(kw_only=True)
class PowerLaw:
    """A fitted exponent and its basis. If there is no exponent, the values are NaN and `why` has the reason.

    Attributes:
        exponent: Of the density (often called alpha or lambda).
        low, high: 95 % interval from the profile likelihood.
        standard_error: From the curvature of the likelihood.
        gaps: Number of gaps in the fit.
        smallest: Smallest size of the law, in the unit of the sizes.
        largest: Largest size of the gaps; None if there is no limit.
        likelihood: Natural logarithm of the likelihood.
        distance: Largest difference between observed and fitted distribution function (Kolmogorov-Smirnov), 0 to 1.
        plausibility: Fraction of samples from the fitted law whose distance from their own fit is at least as large. Below 0.1, a
            power law is implausible (Clauset et al., section 4.1). NaN if it was not computed.
        why: Why there is no exponent; None if there is one.
    """

    exponent: float = nan
    low: float = nan
    high: float = nan
    standard_error: float = nan
    gaps: int
    smallest: float
    largest: float | None = None
    likelihood: float = nan
    distance: float = nan
    plausibility: float = nan
    why: str | None = None


# --- the estimators of ForestGapR -----------------------------------------------------------------------------------


def estimate_lambda_hanel(areas: NDArray[Any]) -> float:
    """ForestGapR's `Hanel_2017`: 1 + n / sum(log(area / smallest area)).

    This is the maximum-likelihood estimate for a continuous power law that begins at the smallest gap. ForestGapR computes it with
    `conpl` of poweRlaw. NaN without gaps, or if all gaps have one size.

    Args:
        areas: Square meters, greater than 0.
    """
    excess = float(np.log(areas / areas.min()).sum()) if len(areas) else 0.0
    return 1 + len(areas) / excess if excess > 0 else nan


def estimate_lambda_asner(areas: NDArray[Any]) -> float:
    """ForestGapR's `Asner_2013`: maximum likelihood for the zeta distribution over 1, 2, 3 ... m2, between 1.0001 and 20.

    The law begins at 1 m2, even if the smallest gaps were left out. NaN without gaps. The estimate has no meaning if areas are not
    whole square meters, because they have no probability under a zeta distribution.

    Args:
        areas: Square meters, greater than 0.
    """
    if not len(areas):
        return nan
    mean = float(np.log(areas).mean())
    return minimize(lambda exponent: exponent * mean + log(zeta(exponent, 1)), 1.0001, 20)


# --- power laws -----------------------------------------------------------------------------------------------------


def fit_power_law(pixels: NDArray[Any], smallest: int = 1, largest: int | None = None, *, seed: int | None = None) -> PowerLaw:
    """Fit a power law to whole numbers of pixels, `smallest` <= x (<= `largest`).

    P(x) = x^-a / (zeta(a, smallest) - zeta(a, largest + 1)), a > 1. The last term is omitted if `largest` is None. Without it, the
    exponent would be too large where large gaps were left out.

    Args:
        pixels: Size of each gap. Gaps outside the limits are ignored.
        seed: Seed of the samples for `plausibility`; None to omit it.
    """
    sizes = np.sort(np.asarray(pixels, np.int64))
    sizes = sizes[(sizes >= smallest) & (sizes <= (inf if largest is None else largest))]
    facts: dict[str, Any] = {"gaps": len(sizes), "smallest": smallest, "largest": largest}
    if reason := explain_no_fit(sizes):
        return PowerLaw(**facts, why=reason)
    fitted = fit_with_interval(make_cost(float(np.log(sizes).mean()), smallest, largest), len(sizes))
    if "exponent" not in fitted:
        return PowerLaw(**facts, **fitted)
    fit = PowerLaw(**facts, **fitted, distance=compute_ks_distance(sizes, fitted["exponent"], smallest, largest))
    return fit if seed is None else evolve(fit, plausibility=simulate_plausibility(fit, seed))


def explain_no_fit(sizes: NDArray[Any]) -> str | None:
    """Return why these sorted sizes have no exponent; None if they have one."""
    if len(sizes) < MIN_GAPS:
        return f"{format_count(len(sizes), 'gap')} within the limits; an exponent requires at least {MIN_GAPS}"
    if sizes[0] == sizes[-1]:
        return f"all {len(sizes)} gaps have the same size"
    return None


def log_zeta(exponent: float, start: Any) -> Any:
    """Logarithm of the sum of x^-exponent over whole x >= `start`; by the Euler-Maclaurin formula where the sum underflows."""
    start = np.asarray(start, np.float64)
    with np.errstate(divide="ignore"):
        direct = np.log(zeta(exponent, start))
    terms = (exponent - 1) / (2 * start) * (1 + exponent / (6 * start))
    tail = (1 - exponent) * np.log(start) - log(exponent - 1) + np.log1p(terms)
    return np.where(direct > -600, direct, tail)


def log_mass(exponent: float, smallest: int, largest: int | None) -> float:
    """Logarithm of the sum of x^-exponent from `smallest` to `largest`."""
    whole = float(log_zeta(exponent, smallest))
    return whole if largest is None else whole + log(-expm1(float(log_zeta(exponent, largest + 1)) - whole))


def make_cost(mean: float, smallest: int, largest: int | None) -> Callable[[float], float]:
    """Return the negative log-likelihood per gap, as a function of the exponent; `mean` is the mean logarithm of the sizes."""
    return lambda exponent: exponent * mean + log_mass(exponent, smallest, largest)


def minimize(cost: Callable[[float], float], low: float, high: float) -> float:
    return float(minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x)


def fit_with_interval(cost: Callable[[float], float], gaps: int) -> dict[str, Any]:
    """Minimize a convex cost; return the exponent, its profile-likelihood interval and standard error."""
    exponent = minimize(cost, MIN_EXPONENT, MAX_EXPONENT)
    if exponent > MAX_EXPONENT - 0.1:
        return {"why": f"nearly all {gaps} gaps have the smallest size"}
    if exponent < 1.0001:
        return {"why": f"the frequencies of the {gaps} gap sizes decrease too slowly for an exponent above 1"}
    found, step = cost(exponent), 1e-3 * (exponent - 1)
    curvature = (cost(exponent + step) - 2 * found + cost(exponent - step)) / step**2

    def excess(other: float) -> float:
        return gaps * (cost(other) - found) - HALF_CHI

    return {
        "exponent": exponent,
        "low": brentq(excess, MIN_EXPONENT, exponent) if excess(MIN_EXPONENT) > 0 else 1.0,
        "high": brentq(excess, exponent, 3 * MAX_EXPONENT) if excess(3 * MAX_EXPONENT) > 0 else inf,
        "standard_error": 1 / sqrt(gaps * curvature) if curvature > 0 else nan,
        "likelihood": -gaps * found,
    }


# --- goodness of fit ------------------------------------------------------------------------------------------------


def compute_ks_distance(sizes: NDArray[Any], exponent: float, smallest: int, largest: int | None) -> float:
    """Kolmogorov-Smirnov distance between whole sizes and the law, at the sizes and just below them."""
    found, counts = np.unique(sizes, return_counts=True)
    observed = np.cumsum(counts) / len(sizes)
    at, below = (
        1 - compute_survival_function(found, exponent, smallest, largest),
        1 - compute_survival_function(found - 1, exponent, smallest, largest),
    )
    before = np.concatenate([[0.0], observed[:-1]])
    return float(max(np.abs(observed - at).max(), np.abs(before - below).max()))


def compute_survival_function(sizes: NDArray[Any], exponent: float, smallest: int, largest: int | None) -> Reals:
    """Fraction of gaps larger than each size, under the law."""
    whole = log_mass(exponent, smallest, largest)
    rest = 0.0 if largest is None else exp(float(log_zeta(exponent, largest + 1)) - whole)
    return np.asarray(np.maximum(np.exp(log_zeta(exponent, sizes + 1) - whole) - rest, 0.0))


def sample_sizes(exponent: float, count: int, smallest: int, largest: int | None, random: np.random.Generator) -> Sizes:
    """Sample whole sizes from the law: from a table of its distribution function, and from the continuous law above the table."""
    last = smallest + TABLE_SIZES if largest is None else min(smallest + TABLE_SIZES, largest)
    fraction = random.random(count)
    place = np.searchsorted(-compute_survival_function(np.arange(smallest, last + 1), exponent, smallest, largest), -fraction)
    sizes = np.minimum(smallest + place, last).astype(np.float64)
    far = place > last - smallest
    if far.any():  # the sum beyond x is near (x + 1/2)^(1 - a) / (a - 1)
        whole = log_mass(exponent, smallest, largest)
        rest = 0.0 if largest is None else exp(float(log_zeta(exponent, largest + 1)) - whole)
        sizes[far] = np.ceil(np.exp((np.log((fraction[far] + rest) * (exponent - 1)) + whole) / (1 - exponent)) - 0.5)
    return np.minimum(sizes, 2.0**62 if largest is None else largest).astype(np.int64)


def simulate_plausibility(fit: PowerLaw, seed: int) -> float:
    """Return the fraction of samples from a fitted law whose distance from their own fit is at least as large."""
    smallest, largest, farther = int(fit.smallest), None if fit.largest is None else int(fit.largest), 1
    random = np.random.default_rng(seed)
    for sample in sample_sizes(fit.exponent, fit.gaps * SIMULATIONS, smallest, largest, random).reshape(SIMULATIONS, fit.gaps):
        exponent = minimize(make_cost(float(np.log(sample).mean()), smallest, largest), MIN_EXPONENT, MAX_EXPONENT)
        farther += compute_ks_distance(sample, exponent, smallest, largest) >= fit.distance
    return farther / (SIMULATIONS + 1)
