"""Statistics of the gaps of one map, as plain values."""

from __future__ import annotations

from math import isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.json_values import replace_nonfinite
from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.statistics.clark_evans import ClarkEvans, compute_clark_evans, simulate_clark_evans
from forestgaps_gaps.statistics.lognormal import compare_fits, fit_lognormal
from forestgaps_gaps.statistics.power_law import estimate_lambda_asner, estimate_lambda_hanel, fit_power_law
from forestgaps_gaps.statistics.ripley import Ripley, compute_ripley, to_json_values
from forestgaps_gaps.statistics.window import Window
from forestgaps_geo.gap_areas import count_min_pixels

MAX_SIMULATED_GAPS = 20_000  # with more gaps, simulations take long, and hardly any law of two parameters is plausible


def summarize_gaps(
    table: GapTable,
    *,
    surveyed_m2: float,
    resolution_m: float,
    minimum_area_m2: float,
    threshold_m: float | None,
    at_most: bool,
    connectivity: int,
    maximum_area_m2: float | None = None,
    window: Window | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return all statistics of `forestgaps gaps` as values for JSON; None where a value is undefined.

    Args:
        table: Gaps of at least `minimum_area_m2`.
        surveyed_m2: Area with data.
        threshold_m: Height threshold of the gaps; None or NaN if unknown.
        at_most: Whether heights equal to the threshold are gap.
        connectivity: 8 or 4 neighbors.
        maximum_area_m2: Largest area of a gap; None if there is no limit.
        window: The surveyed area, for the pattern. If None, Clark and Evans' R is computed for a rectangle with the extent of the
            centroids, and there is no Ripley's K.
        seed: Seed of the simulations.
    """
    areas, pixel_m2 = table.area_m2, resolution_m**2
    total, hectares = float(areas.sum()), surveyed_m2 / 1e4
    known = threshold_m is not None and isfinite(threshold_m)
    weight = table.pixels[np.isfinite(table.height_mean)]
    heights = table.height_mean[np.isfinite(table.height_mean)]
    return {
        "threshold_m": float(threshold_m) if known and threshold_m is not None else None,
        "at_most": bool(at_most),
        "connectivity": int(connectivity),
        "resolution_m": float(resolution_m),
        "minimum_area_m2": float(minimum_area_m2),
        "maximum_area_m2": None if maximum_area_m2 is None else float(maximum_area_m2),
        "surveyed_m2": float(surveyed_m2),
        "gaps": len(table),
        "gap_area_m2": total,
        "gap_fraction": total / surveyed_m2 if surveyed_m2 else None,
        "gaps_per_hectare": len(table) / hectares if hectares else None,
        "touching_edge": int(table.touches_edge.sum()),
        "area_m2": describe_values(areas),
        "perimeter_m": describe_values(table.perimeter_m),
        "shape_index": describe_values(table.shape_index),
        "nearest_m": describe_values(table.nearest_m),
        "height_mean_m": float(np.average(heights, weights=weight)) if len(heights) else None,
        "size_distribution": summarize_sizes(table, pixel_m2, count_min_pixels(minimum_area_m2, pixel_m2), maximum_area_m2, seed),
        "clark_evans": to_json_values(estimate_clark_evans(table, resolution_m, surveyed_m2, window, seed)),
        "ripley": None if window is None else to_json_values(estimate_ripley(table, resolution_m, window, seed)),
    }


def describe_values(values: NDArray[Any]) -> dict[str, float | None]:
    """Return mean, median, standard deviation (of a sample, n - 1), smallest and largest of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return dict.fromkeys(("mean", "median", "sd", "smallest", "largest"))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "smallest": float(values.min()),
        "largest": float(values.max()),
    }


def summarize_sizes(table: GapTable, pixel_m2: float, smallest: int, maximum_m2: float | None, seed: int) -> dict[str, Any]:
    largest = None if maximum_m2 is None or not isfinite(maximum_m2) else int(maximum_m2 / pixel_m2 + 1e-9)
    fit = fit_power_law(table.pixels, smallest, largest, seed=seed if len(table) <= MAX_SIMULATED_GAPS else None)
    other = fit_lognormal(table.pixels, smallest, largest)
    comparison = compare_fits(table.pixels, fit, other)
    in_meters = {"smallest_m2": smallest * pixel_m2, "largest_m2": None if largest is None else largest * pixel_m2}
    facts: dict[str, Any] = {
        **in_meters,
        "gaps": fit.gaps,
        "exponent": fit.exponent,
        "low": fit.low,
        "high": fit.high,
        "standard_error": fit.standard_error,
        "distance": fit.distance,
        "plausibility": fit.plausibility,
        "why": fit.why,
        "lognormal": {
            "location_ln_m2": other.location + log(pixel_m2),
            "scale": other.scale,
            "why": other.why,
        },
        "comparison": {
            "log_likelihood_ratio": comparison.ratio,
            "z": comparison.z,
            "p": comparison.p,
            "better": comparison.better,
        },
        "lambda_hanel": estimate_lambda_hanel(table.area_m2),
        "lambda_asner": estimate_lambda_asner(table.area_m2) if are_whole_numbers(table.area_m2) else None,
    }
    return dict(replace_nonfinite(facts))


def are_whole_numbers(areas: NDArray[Any]) -> bool:
    """Return whether all areas are whole square meters, as a zeta distribution requires."""
    return bool((np.abs(areas - np.round(areas)) < 1e-6).all())


def list_centroids(table: GapTable, resolution_m: float) -> NDArray[np.float64]:
    """Return centroids, meters east and south of the corner of the raster."""
    return np.asarray(np.stack([table.column, table.row], 1) * resolution_m)


def estimate_ripley(table: GapTable, resolution_m: float, window: Window, seed: int) -> Ripley:
    """Compute Ripley's K at 25 distances, with 19 to 99 simulations (99 for up to 2,000 gaps), so that it takes seconds."""
    simulations = min(max(200_000 // max(len(table), 1) - 1, 19), 99)
    return compute_ripley(list_centroids(table, resolution_m), window, steps=25, simulations=simulations, seed=seed)


def estimate_clark_evans(table: GapTable, resolution_m: float, surveyed_m2: float, window: Window | None, seed: int) -> ClarkEvans:
    points = list_centroids(table, resolution_m)
    if window is not None and not window.is_rectangle:
        simulations = min(max(2_000_000 // max(len(points), 1), 39), 199)
        return simulate_clark_evans(points, window, simulations=simulations, seed=seed)
    if window is not None:
        return compute_clark_evans(points, window.area_m2, window.perimeter_m)
    wide, high = np.maximum(np.ptp(points, axis=0), resolution_m) if len(points) else (1.0, 1.0)
    scale = (surveyed_m2 / (wide * high)) ** 0.5
    return compute_clark_evans(points, surveyed_m2, 2 * scale * (wide + high))


# --- in words -------------------------------------------------------------------------------------------------------
