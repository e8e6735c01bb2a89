"""Ripley's K and L: whether gaps are random, clustered or evenly spaced, at each distance.

The reference is complete spatial randomness in the surveyed area, which may have any outline.

Sources: Ripley 1977; Ohser & Stoyan 1981 (translation correction); both as in Baddeley, Rubak & Turner 2015, Spatial Point
Patterns, chapters 7 and 10.
"""

from __future__ import annotations

from math import nan, pi, sqrt
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from forestgaps_core.errors import DataError
from forestgaps_core.output.json_values import replace_nonfinite
from forestgaps_gaps.statistics.clark_evans import MIN_POINTS, ClarkEvans, explain_too_few
from forestgaps_gaps.statistics.window import Points, Reals, Window

MAX_PAIRS = 300_000  # of points; if there are more, the largest distance is reduced


@frozen(eq=False, kw_only=True)
class Ripley:
    """K and L at distances `r_m`, with their envelopes under complete spatial randomness.

    Attributes:
        k: Mean number of other gaps within r of a gap, over the mean density of gaps, m2. pi r^2 if random.
        l: sqrt(K / pi), meters. r if random, more if clustered, less if evenly spaced.
        k_low, k_high, l_low, l_high: Minimum and maximum of the simulations at each distance. At one distance chosen in advance,
            a curve outside them is significant at the level 2 / (simulations + 1). Over all distances, chance is more frequent.
        p: Of a global test: fraction of patterns (simulations and data) whose largest deviation of L from the mean of all
            patterns is at least that of the data.
        simulations, seed: Of the envelopes.
        why: Why there are no curves; None if there are.
    """

    r_m: Reals
    k: Reals
    l: Reals  # noqa: E741 - the function's name
    k_low: Reals
    k_high: Reals
    l_low: Reals
    l_high: Reals
    p: float = nan
    simulations: int
    seed: int
    why: str | None = None


def compute_ripley(
    points: Points, window: Window, *, reach_m: float | None = None, steps: int = 50, simulations: int = 99, seed: int = 0
) -> Ripley:
    """Compute Ripley's K and L with the translation edge correction, which is exact for an area of pixels.

    Args:
        points: (n, 2), meters east and south of the window's north-west corner.
        reach_m: Largest distance; by default a quarter of the window's shorter side. It is reduced until it contains at most
            `MAX_PAIRS` pairs, which limits time and memory for any number of gaps.
        steps: Number of distances, evenly spaced; the last is the reach.

    Raises:
        DataError: The reach is more than half of the window's shorter side, where few pairs are left.
    """
    count, side = len(points), min(window.fraction.shape) * window.cell_m
    if reach_m is not None and not 0 < reach_m <= side / 2:
        raise DataError(f"K to {reach_m:g} m: the surveyed area is {side:g} m wide. Choose a distance of at most {side / 2:g} m")
    if count < MIN_POINTS:
        none = np.empty(0)
        return Ripley(
            r_m=none,
            k=none,
            l=none,
            k_low=none,
            k_high=none,
            l_low=none,
            l_high=none,
            simulations=0,
            seed=seed,
            why=explain_too_few(count),
        )
    radii = np.linspace(0, limit_reach(points, side / 4 if reach_m is None else reach_m), steps + 1)[1:]
    overlap = window.compute_overlap(float(radii[-1]))
    random = np.random.default_rng(seed)
    observed = estimate_k(points, radii, window, overlap)
    random_curves = np.array([estimate_k(window.sample_points(count, random), radii, window, overlap) for _ in range(simulations)])
    low, high = random_curves.min(0), random_curves.max(0)
    every = np.sqrt(np.concatenate([observed[None], random_curves]) / pi)
    farthest = np.abs(every - every.mean(0)).max(1)
    return Ripley(
        r_m=radii,
        k=observed,
        l=every[0],
        k_low=low,
        k_high=high,
        l_low=np.sqrt(low / pi),
        l_high=np.sqrt(high / pi),
        p=float((farthest >= farthest[0]).mean()),
        simulations=simulations,
        seed=seed,
    )


def limit_reach(points: Points, reach_m: float) -> float:
    """Return the reach, reduced until it contains at most `MAX_PAIRS` pairs."""
    tree = cKDTree(points)
    for _ in range(100):
        pairs = (int(tree.count_neighbors(tree, reach_m)) - len(points)) // 2
        if pairs <= MAX_PAIRS:
            return reach_m
        reach_m *= max(sqrt(MAX_PAIRS / pairs), 0.5) * 0.98
    return reach_m


def estimate_k(points: Points, radii: Reals, window: Window, overlap: Reals) -> Reals:
    """Estimate K at ascending radii.

    K = A^2 / (n (n - 1)) times the sum, over ordered pairs, of 1 / area of the window's overlap with itself moved by the pair.
    """
    pairs = cKDTree(points).query_pairs(float(radii[-1]), output_type="ndarray")
    apart = points[pairs[:, 1]] - points[pairs[:, 0]]
    weight = 1 / np.maximum(interpolate_overlap(overlap, apart / window.cell_m), 1e-9 * window.area_m2)
    summed = np.bincount(np.searchsorted(radii, np.hypot(*apart.T)), weights=weight, minlength=len(radii) + 1)[: len(radii)]
    scale = window.area_m2**2 / (len(points) * (len(points) - 1))
    return np.asarray(2 * scale * np.cumsum(summed))


def interpolate_overlap(table: NDArray[Any], apart: Points) -> Reals:
    """Interpolate the overlap of a union of squares with itself; it is exactly linear in x and y between whole cells."""
    place = apart[:, ::-1] + table.shape[0] // 2
    corner = np.floor(place).astype(np.intp)
    y, x = (place - corner).T
    i, j = corner.T
    upper = table[i, j] * (1 - x) + table[i, j + 1] * x
    lower = table[i + 1, j] * (1 - x) + table[i + 1, j + 1] * x
    return np.asarray(upper * (1 - y) + lower * y)


def to_json_values(result: ClarkEvans | Ripley) -> dict[str, Any]:
    """Return the fields for JSON: lists for curves, None for NaN."""
    values = {name: getattr(result, name) for name in type(result).__annotations__}
    lists = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return dict(replace_nonfinite(lists))
