"""Clark and Evans' R: the mean distance to the nearest other gap, over that of random points.

Gaps have an extent and centroids do not. At distances below the width of a gap, every map therefore appears evenly spaced.

Sources: Clark & Evans 1954, Ecology 35(4), doi 10.2307/1931034; Donnelly 1978 (edge correction); both as in Baddeley, Rubak &
Turner 2015, Spatial Point Patterns, chapters 8 and 10.
"""

from __future__ import annotations

from math import erfc, nan, sqrt

import numpy as np
from attrs import frozen
from scipy.spatial import cKDTree

from forestgaps_core.output.counts import format_count
from forestgaps_gaps.statistics.window import Points, Window

MIN_POINTS = 10  # a smaller number cannot be distinguished from chance


@frozen(kw_only=True)
class ClarkEvans:
    """Mean distance to the nearest other gap, over the mean of random points.

    Attributes:
        ratio: R: below 1 clustered, 1 random, above 1 evenly spaced (2 on a square grid, 2.149 on a hexagonal grid).
        z: Difference between observed and expected mean, in standard errors.
        p: Two-sided.
        observed_m, expected_m: The two means, meters.
        gaps: Number of gaps.
        method: How the expected mean was computed.
        why: Why the values are NaN; None if they are not.
    """

    ratio: float = nan
    z: float = nan
    p: float = nan
    observed_m: float = nan
    expected_m: float = nan
    gaps: int
    method: str = ""
    why: str | None = None


def compute_clark_evans(points: Points, area_m2: float, perimeter_m: float) -> ClarkEvans:
    """Compute Clark and Evans' R with Donnelly's edge correction, which is valid in rectangles and other simple outlines.

    The expected mean is 0.5 sqrt(A/n) + (0.0514 + 0.041/sqrt(n)) P/n, its variance 0.0703 A/n^2 + 0.037 P sqrt(A/n^5).

    Args:
        points: (n, 2), meters.
    """
    count = len(points)
    if count < MIN_POINTS:
        return ClarkEvans(gaps=count, why=explain_too_few(count))
    observed = compute_mean_nearest_distance(points)
    expected = 0.5 * sqrt(area_m2 / count) + (0.0514 + 0.041 / sqrt(count)) * perimeter_m / count
    error = sqrt(0.0703 * area_m2 / count**2 + 0.037 * perimeter_m * sqrt(area_m2 / count**5))
    z = (observed - expected) / error
    return ClarkEvans(
        ratio=observed / expected,
        z=z,
        p=erfc(abs(z) / sqrt(2)),
        observed_m=observed,
        expected_m=expected,
        gaps=count,
        method="Donnelly's edge correction",
    )


def simulate_clark_evans(points: Points, window: Window, *, simulations: int = 199, seed: int = 0) -> ClarkEvans:
    """Compute Clark and Evans' R from simulations of random points in the surveyed area, which may have any outline.

    `p` is twice the fraction of simulations at least as extreme on the observed side, so it is at least 2 / (simulations + 1).
    """
    count = len(points)
    if count < MIN_POINTS:
        return ClarkEvans(gaps=count, why=explain_too_few(count))
    random, observed = np.random.default_rng(seed), compute_mean_nearest_distance(points)
    means = np.array([compute_mean_nearest_distance(window.sample_points(count, random)) for _ in range(simulations)])
    expected = float(means.mean())
    tail = min(int((means <= observed).sum()), int((means >= observed).sum())) + 1
    return ClarkEvans(
        ratio=observed / expected,
        z=(observed - expected) / float(means.std(ddof=1)),
        p=min(2 * tail / (simulations + 1), 1.0),
        observed_m=observed,
        expected_m=expected,
        gaps=count,
        method=f"{simulations} simulations of random points in the surveyed area",
    )


def compute_mean_nearest_distance(points: Points) -> float:
    return float(cKDTree(points).query(points, k=2)[0][:, 1].mean())


def explain_too_few(count: int) -> str:
    return f"{format_count(count, 'gap')}; a pattern requires at least {MIN_POINTS}"
