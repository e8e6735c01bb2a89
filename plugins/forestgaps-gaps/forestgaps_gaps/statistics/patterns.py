"""How gaps lie beside each other: at random, clustered, or evenly spaced.

Everything is judged against complete spatial randomness in the *surveyed* area, which need not be a rectangle. Gaps have an extent
and centroids do not, so at distances below a gap's width every map looks evenly spaced.

Sources: Clark & Evans 1954, Ecology 35(4), doi 10.2307/1931034; Donnelly 1978 (edge correction of it); Ripley 1977; Ohser & Stoyan
1981 (translation correction), all as in Baddeley, Rubak & Turner 2015, Spatial Point Patterns, chapters 7, 8 and 10.
"""

from __future__ import annotations

from math import erfc, isfinite, nan, pi, sqrt
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count

Points: TypeAlias = NDArray[np.float64]
Reals: TypeAlias = NDArray[np.float64]

MIN_POINTS = 10  # points; fewer cannot be distinguished from chance
MAX_WINDOW_CELLS = 1024  # along a side of the map of the surveyed area at most
MAX_PAIRS = 300_000  # pairs of points looked at; more, and the range of distances is shortened


# --- the surveyed area ----------------------------------------------------------------------------------------------


@frozen(eq=False)
class Window:
    """The surveyed area as a map of square cells, row 0 in the north.

    Attributes:
        share: Surveyed share of each cell, 0 to 1, (R, C).
        cell_m: Side of a cell, meters. Points are in meters east and south of the north-west corner.
    """

    share: Reals
    cell_m: float

    @property
    def area_m2(self) -> float:
        return float(self.share.sum()) * self.cell_m**2

    @property
    def perimeter_m(self) -> float:
        """Length of its outline, along the sides of cells; too long where the outline is oblique."""
        framed = np.pad(self.share > 0.5, 1)
        return float((framed[1:] != framed[:-1]).sum() + (framed[:, 1:] != framed[:, :-1]).sum()) * self.cell_m

    @property
    def whole(self) -> bool:
        """Whether it is a full rectangle."""
        return bool((self.share > 1 - 1e-9).all())

    def random_points(self, count: int, random: np.random.Generator) -> Points:
        """(count, 2) points, complete spatial randomness: x east, y south, meters."""
        within = np.cumsum(self.share.ravel())
        cell = np.searchsorted(within, random.random(count) * within[-1], side="right").clip(max=self.share.size - 1)
        row, column = np.divmod(cell, self.share.shape[1])
        return (np.stack([column, row], 1) + random.random((count, 2))) * self.cell_m

    def overlap(self, reach_m: float) -> Reals:
        """Area that the window shares with itself moved by whole cells, m2: (2 n + 1, 2 n + 1), unmoved in the middle."""
        cells = int(reach_m / self.cell_m) + 2
        framed = np.pad(self.share, cells)
        middle = fftconvolve(framed, self.share[::-1, ::-1], mode="valid")
        return np.asarray(np.maximum(middle, 0.0) * self.cell_m**2)


class WindowCounter:
    """Collects a `Window` from strips, in cells of so many pixels that there are at most `MAX_WINDOW_CELLS` along a side."""

    def __init__(self, rows: int, columns: int, resolution_m: float) -> None:
        self.pixels = -(-max(rows, columns) // MAX_WINDOW_CELLS)
        self.resolution_m = resolution_m
        self.counts = np.zeros((-(-rows // self.pixels), -(-columns // self.pixels)), np.int64)

    def add(self, row: int, valid: NDArray[np.bool_]) -> None:
        """Full-width rows from `row` on; True where surveyed."""
        edges = np.arange(0, valid.shape[1], self.pixels)
        for_rows = np.add.reduceat(valid, edges, axis=1, dtype=np.int64)
        np.add.at(self.counts, (np.arange(row, row + len(valid)) // self.pixels), for_rows)

    def window(self) -> Window:
        return Window(self.counts / self.pixels**2, self.pixels * self.resolution_m)


def make_window(valid: NDArray[np.bool_], resolution_m: float) -> Window:
    """The window of a mask that fits in memory."""
    rows, columns = valid.shape
    surveying = WindowCounter(rows, columns, resolution_m)
    surveying.add(0, valid)
    return surveying.window()


# --- distance to the nearest ----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ClarkEvans:
    """Mean distance to the nearest other gap, over what randomness would give.

    Attributes:
        ratio: R: below 1 clustered, 1 random, above 1 evenly spaced (2 on a square grid, 2.149 on a hexagonal one).
        z: How many standard errors the mean lies from the expected one.
        p: Two-sided.
        observed_m, expected_m: The two means, meters.
        gaps: How many there are.
        method: What the expectation rests on.
        why: Why the numbers are NaN, if they are.
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
    """Clark and Evans' R with Donnelly's edge correction, which holds in rectangles and other simple outlines.

    Expected mean 0.5 sqrt(A/n) + (0.0514 + 0.041/sqrt(n)) P/n, its variance 0.0703 A/n^2 + 0.037 P sqrt(A/n^5).

    Args:
        points: (n, 2), meters.
    """
    count = len(points)
    if count < MIN_POINTS:
        return ClarkEvans(gaps=count, why=explain_too_few(count))
    observed = mean_nearest_distance(points)
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
    """Clark and Evans' R against random points in the surveyed area, whatever its outline.

    `p` is twice the share of simulations at least as extreme on the observed side, so it is not below 2 / (simulations + 1).
    """
    count = len(points)
    if count < MIN_POINTS:
        return ClarkEvans(gaps=count, why=explain_too_few(count))
    random, observed = np.random.default_rng(seed), mean_nearest_distance(points)
    means = np.array([mean_nearest_distance(window.random_points(count, random)) for _ in range(simulations)])
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


def mean_nearest_distance(points: Points) -> float:
    return float(cKDTree(points).query(points, k=2)[0][:, 1].mean())


def explain_too_few(count: int) -> str:
    return f"{format_count(count, 'gap')}; a pattern takes at least {MIN_POINTS}"


# --- distances to all -----------------------------------------------------------------------------------------------


@frozen(eq=False, kw_only=True)
class Ripley:
    """K and L with their envelopes under complete spatial randomness, at distances `r_m`.

    Attributes:
        k: Mean number of further gaps within r of a gap, over their mean density, m2; pi r^2 if random.
        l: sqrt(K / pi), meters; r if random, more if clustered, less if evenly spaced.
        k_low, k_high, l_low, l_high: Least and greatest of the simulations at each distance. A curve that leaves them at a distance
            chosen beforehand speaks at the 2 / (simulations + 1) level; to leave them anywhere happens far more often by chance.
        p: Of the whole curve: the share of patterns, this one among them, with L somewhere at least as far from the mean of all.
        simulations, seed: Of the envelopes.
        why: Why there are no curves, if there are none.
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
    """Ripley's K and L with the translation edge correction, exact for an area made of pixels.

    Args:
        points: (n, 2), meters east and south of the window's north-west corner.
        reach_m: Largest distance. None: a quarter of the window's shorter side. Either is shortened until no more than `MAX_PAIRS`
            pairs lie within it, which bounds time and memory for any number of gaps.
        steps: Distances at which the curves are given, evenly spaced, the last at the reach.

    Raises:
        DataError: The reach asked is beyond half the window's shorter side, where hardly a pair is left to count.
    """
    count, side = len(points), min(window.share.shape) * window.cell_m
    if reach_m is not None and not 0 < reach_m <= side / 2:
        raise DataError(f"K to {reach_m:g} m: the surveyed area is {side:g} m wide; distances to {side / 2:g} m can be asked")
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
    overlap = window.overlap(float(radii[-1]))
    random = np.random.default_rng(seed)
    observed = estimate_k(points, radii, window, overlap)
    random_curves = np.array([estimate_k(window.random_points(count, random), radii, window, overlap) for _ in range(simulations)])
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
    """The reach, shortened until it holds no more than `MAX_PAIRS` pairs."""
    tree = cKDTree(points)
    for _ in range(100):
        pairs = (int(tree.count_neighbors(tree, reach_m)) - len(points)) // 2
        if pairs <= MAX_PAIRS:
            return reach_m
        reach_m *= max(sqrt(MAX_PAIRS / pairs), 0.5) * 0.98
    return reach_m


def estimate_k(points: Points, radii: Reals, window: Window, overlap: Reals) -> Reals:
    """K at ascending radii: A^2 / (n (n - 1)) times the sum, over ordered pairs, of 1 / overlap of the window moved by the pair."""
    pairs = cKDTree(points).query_pairs(float(radii[-1]), output_type="ndarray")
    apart = points[pairs[:, 1]] - points[pairs[:, 0]]
    weight = 1 / np.maximum(interpolate_overlap(overlap, apart / window.cell_m), 1e-9 * window.area_m2)
    summed = np.bincount(np.searchsorted(radii, np.hypot(*apart.T)), weights=weight, minlength=len(radii) + 1)[: len(radii)]
    scale = window.area_m2**2 / (len(points) * (len(points) - 1))
    return np.asarray(2 * scale * np.cumsum(summed))


def interpolate_overlap(table: NDArray[Any], apart: Points) -> Reals:
    """The overlap of a union of squares with itself moved by any distance: linear between whole cells in x and in y, exactly."""
    place = apart[:, ::-1] + table.shape[0] // 2
    corner = np.floor(place).astype(np.intp)
    y, x = (place - corner).T
    i, j = corner.T
    upper = table[i, j] * (1 - x) + table[i, j + 1] * x
    lower = table[i + 1, j] * (1 - x) + table[i + 1, j + 1] * x
    return np.asarray(upper * (1 - y) + lower * y)


def to_json_values(result: ClarkEvans | Ripley) -> dict[str, Any]:
    """For JSON: lists for curves, None for NaN."""
    values: dict[str, Any] = {}
    for name in type(result).__annotations__:
        value = getattr(result, name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        values[name] = None if isinstance(value, float) and not isfinite(value) else value
    return values
