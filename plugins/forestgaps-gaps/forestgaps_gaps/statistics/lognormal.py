"""Lognormal distributions of gap sizes, and Vuong's test against the power law. The two look alike over a few decades of size.

Sources: Clauset, Shalizi & Newman 2009, section 5, doi 10.1137/070710111; Vuong 1989, Econometrica 57(2), doi 10.2307/1912557.
"""

from __future__ import annotations

from math import erfc, exp, inf, log, nan, sqrt
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr

from forestgaps_gaps.statistics.power_law import PowerLaw, Reals, explain_no_fit, log_mass

MIN_SCALE = 0.01  # standard deviation of the logarithm of the size
MAX_SCALE = 30.0  # with a larger scale, a truncated lognormal cannot be distinguished from a power law
MAX_P_DECIDED = 0.1  # with a smaller p-value, one law is better (Clauset et al., section 5.1)


@frozen(kw_only=True)
class Lognormal:
    """A lognormal over whole numbers of pixels from `smallest` (to `largest`), by maximum likelihood.

    Attributes:
        location, scale: Mean and standard deviation of the logarithm of the size, untruncated; NaN if there is no fit.
        likelihood: Natural logarithm of the likelihood.
        why: Why there is no fit; None if there is one.
    """

    location: float = nan
    scale: float = nan
    likelihood: float = nan
    gaps: int
    smallest: int
    largest: int | None = None
    why: str | None = None


@frozen(kw_only=True)
class FitComparison:
    """Vuong's test of the power law against the lognormal on the same gaps.

    Attributes:
        ratio: Log-likelihood of the power law minus that of the lognormal. Positive if the power law fits better.
        z: The ratio divided by its standard deviation.
        p: Two-sided. Probability of a ratio this far from 0 if both laws were equally close to the truth.
        better: "power law", "lognormal", or None if the difference is not significant.
    """

    ratio: float
    z: float
    p: float
    better: str | None


def fit_lognormal(pixels: NDArray[Any], smallest: int = 1, largest: int | None = None) -> Lognormal:
    """Fit a lognormal to the gaps that `fit_power_law` uses with the same limits.

    P(x) is the lognormal probability of x - 1/2 to x + 1/2, divided by that of `smallest` - 1/2 to `largest` + 1/2.
    """
    sizes = np.sort(np.asarray(pixels, np.int64))
    sizes = sizes[(sizes >= smallest) & (sizes <= (inf if largest is None else largest))]
    facts: dict[str, Any] = {"gaps": len(sizes), "smallest": smallest, "largest": largest}
    if reason := explain_no_fit(sizes):
        return Lognormal(**facts, why=reason)
    found, counts = np.unique(sizes, return_counts=True)
    logs = np.log(found)
    mean = float(np.average(logs, weights=counts))
    spread = sqrt(float(np.average((logs - mean) ** 2, weights=counts)))

    def to_parameters(point: Reals) -> tuple[float, float]:  # the exponent at the smallest size stays finite as the scale grows
        scale = exp(float(point[1]))
        return log(smallest) - (float(point[0]) - 1) * scale**2, scale

    def cost(point: Reals) -> float:
        return -float(np.average(log_probabilities(found, *to_parameters(point), smallest, largest), weights=counts))

    limits = [(-1e6, 100.0), (log(MIN_SCALE), log(MAX_SCALE))]
    starts = [(1 + (log(smallest) - mean) / spread**2, log(spread)), (1 + 1 / (mean - log(smallest - 0.5)), log(5.0))]
    fits = [
        minimize(cost, start, method="Nelder-Mead", bounds=limits, options={"xatol": 1e-4, "fatol": 1e-9, "maxiter": 400})
        for start in np.clip(starts, *np.transpose(limits))
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    location, scale = to_parameters(best.x)
    return Lognormal(**facts, location=location, scale=scale, likelihood=-float(best.fun) * len(sizes))


def log_probabilities(sizes: NDArray[Any], location: float, scale: float, smallest: int, largest: int | None) -> Reals:
    """Logarithm of the lognormal probability of each whole size within the limits."""
    low, high = (np.log(sizes - 0.5) - location) / scale, (np.log(sizes + 0.5) - location) / scale
    first = (log(smallest - 0.5) - location) / scale
    last = inf if largest is None else (log(largest + 0.5) - location) / scale
    return log_normal_mass(low, high) - log_normal_mass(np.array(first), np.array(last))


def log_normal_mass(low: Reals, high: Reals) -> Reals:
    """Logarithm of the normal probability between two values, accurate in both tails."""
    upper = low > 0  # both distribution functions are near 1 there, so use the mirrored values
    small, large = np.where(upper, -high, low), np.where(upper, -low, high)
    large_log: Reals = log_ndtr(large)
    with np.errstate(divide="ignore"):
        thickness: Reals = np.log(-np.expm1(np.minimum(log_ndtr(small) - large_log, 0.0)))
    return large_log + np.maximum(thickness, -700.0)


def compare_fits(pixels: NDArray[Any], one: PowerLaw, other: Lognormal) -> FitComparison:
    """Compare two laws that were fitted to these gaps. NaN and None if either has no fit."""
    if one.why or other.why:
        return FitComparison(ratio=nan, z=nan, p=nan, better=None)
    smallest, largest = other.smallest, other.largest
    sizes = np.asarray(pixels, np.int64)
    sizes = sizes[(sizes >= smallest) & (sizes <= (inf if largest is None else largest))]
    power = -one.exponent * np.log(sizes) - log_mass(one.exponent, smallest, largest)
    each = power - log_probabilities(sizes, other.location, other.scale, smallest, largest)
    ratio, spread = float(each.sum()), float(each.std()) * sqrt(len(sizes))
    if spread < 1e-6 * sqrt(len(sizes)):  # a lognormal so wide that it is a power law
        return FitComparison(ratio=ratio, z=0.0, p=1.0, better=None)
    z = ratio / spread
    p = erfc(abs(z) / sqrt(2))
    return FitComparison(ratio=ratio, z=z, p=p, better=None if p >= MAX_P_DECIDED else "power law" if z > 0 else "lognormal")
