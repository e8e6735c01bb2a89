"""A map's gaps in numbers: plain values for machines, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.counts import format_count, format_hectares, format_square_meters
from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.statistics.clark_evans import ClarkEvans, compute_clark_evans, simulate_clark_evans
from forestgaps_gaps.statistics.lognormal import compare_fits, fit_lognormal
from forestgaps_gaps.statistics.power_law import count_min_pixels, fit_power_law, lambda_asner, lambda_hanel
from forestgaps_gaps.statistics.ripley import Ripley, compute_ripley, to_json_values
from forestgaps_gaps.statistics.window import Window

MAX_SIMULATED_GAPS = 20_000  # gaps; with more, hardly a law of two numbers is plausible, and drawing samples takes long
OPEN_LAND_FRACTION = (
    0.5  # share of gap above which gaps run together into one (site percolation: .41 of random pixels, 8 neighbors)
)


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
    """Everything `forestgaps gaps` says of a map; values JSON can hold, None where there is nothing to tell from.

    Args:
        table: Gaps of `minimum_area_m2` or more.
        surveyed_m2: Area with data, gap or not.
        threshold_m: Height the gaps lie below; None or NaN: unknown.
        at_most: Gaps are heights up to and including the threshold, not only below it.
        connectivity: 8 or 4 neighbors.
        maximum_area_m2: Area above which gaps were left out; None: none were.
        window: The surveyed area, for the pattern. None: for distances to the nearest it is taken to be a rectangle, as long and
            wide as the centroids spread, and there is no `compute_ripley`.
        seed: Of simulations.
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
        "size_distribution": summarize_sizes(
            table, pixel_m2, count_min_pixels(minimum_area_m2, resolution_m), maximum_area_m2, seed
        ),
        "clark_evans": to_json_values(estimate_clark_evans(table, resolution_m, surveyed_m2, window, seed)),
        "ripley": None if window is None else to_json_values(estimate_ripley(table, resolution_m, window, seed)),
    }


def describe_values(values: NDArray[Any]) -> dict[str, float | None]:
    """Mean, median, spread (of a sample, divided by n - 1), least and largest of the finite values."""
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
    verdict = compare_fits(table.pixels, fit, other)
    in_meters = {"smallest_m2": smallest * pixel_m2, "largest_m2": None if largest is None else largest * pixel_m2}
    return {
        **in_meters,
        "gaps": fit.gaps,
        "exponent": null_if_not_finite(fit.exponent),
        "low": null_if_not_finite(fit.low),
        "high": null_if_not_finite(fit.high),
        "standard_error": null_if_not_finite(fit.standard_error),
        "distance": null_if_not_finite(fit.distance),
        "plausibility": null_if_not_finite(fit.plausibility),
        "why": fit.why,
        "lognormal": {
            "location_ln_m2": null_if_not_finite(other.location + log(pixel_m2)),
            "scale": null_if_not_finite(other.scale),
            "why": other.why,
        },
        "comparison": {
            "log_likelihood_ratio": null_if_not_finite(verdict.ratio),
            "z": null_if_not_finite(verdict.z),
            "p": null_if_not_finite(verdict.p),
            "better": verdict.better,
        },
        "lambda_hanel": null_if_not_finite(lambda_hanel(table.area_m2)),
        "lambda_asner": null_if_not_finite(lambda_asner(table.area_m2)) if are_whole_numbers(table.area_m2) else None,
    }


def are_whole_numbers(areas: NDArray[Any]) -> bool:
    """Whether all are whole square meters, which alone a zeta distribution knows."""
    return bool((np.abs(areas - np.round(areas)) < 1e-6).all())


def null_if_not_finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def list_centroids(table: GapTable, resolution_m: float) -> NDArray[np.float64]:
    """Centroids, meters east and south of the raster's corner."""
    return np.asarray(np.stack([table.column, table.row], 1) * resolution_m)


def estimate_ripley(table: GapTable, resolution_m: float, window: Window, seed: int) -> Ripley:
    """At 25 distances, with as many simulations as take seconds, not minutes: 99 for up to 2,000 gaps, never fewer than 19."""
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


def format_summary(summary: Mapping[str, Any]) -> list[str]:
    """The summary as sentences for a terminal."""
    surveyed = format_hectares(summary["surveyed_m2"])
    if not summary["gaps"]:
        return [f"no {describe_gap(summary)} on {surveyed} surveyed"]
    area, nearest = summary["area_m2"], summary["nearest_m"]
    mean, median, largest, deviation = (format_square_meters(area[key]) for key in ("mean", "median", "largest", "sd"))
    said = [
        f"{format_count(summary['gaps'], 'gap')}: {describe_gap(summary)}, {summary['connectivity']} neighbors",
        f"  {format_square_meters(summary['gap_area_m2'])} m2, {summary['gap_fraction']:.2%} of {surveyed} surveyed; "
        f"{summary['gaps_per_hectare']:.3g} gaps per hectare",
        f"  area: mean {mean} m2, median {median}, largest {largest}"
        + (f", standard deviation {deviation}" if area["sd"] is not None else ""),
        f"  shape index: mean {summary['shape_index']['mean']:.3g} (1 for a circle, 1.13 for a square)",
    ]
    if summary["height_mean_m"] is not None:
        said.append(f"  mean height inside: {summary['height_mean_m']:.3g} m")
    if nearest["mean"] is not None:
        said.append(f"  to the next gap: mean {nearest['mean']:.3g} m, median {nearest['median']:.3g} m")
    if summary["touching_edge"]:
        said.append(
            f"  {format_count(summary['touching_edge'], 'gap')} touching the edge of the survey, so perhaps larger than seen"
        )
    if summary["gap_fraction"] > OPEN_LAND_FRACTION:
        said.append(
            f"  more than {OPEN_LAND_FRACTION:.0%} of the area is gap: this is open land with trees, where gap sizes and patterns "
            "mean little"
        )
    return [*said, *format_sizes(summary), *format_clark_evans(summary["clark_evans"]), *format_ripley(summary["ripley"])]


def format_sizes(summary: Mapping[str, Any]) -> list[str]:
    found, better = summary["size_distribution"], summary["size_distribution"]["comparison"]["better"]
    basis = f"{describe_gap(summary)}, {summary['resolution_m']:g} m pixels"
    if found["exponent"] is None:
        said = [f"  gap sizes: no power-law exponent, {found['why']} ({basis})"]
    else:
        high = "without upper end" if found["high"] is None else f"to {found['high']:.3f}"
        said = [
            f"  gap sizes: power-law exponent {found['exponent']:.3f}, 95 % interval {found['low']:.3f} {high}, for {basis}",
            f"    distance from that law {found['distance']:.3f}{format_plausibility(found['plausibility'])}",
        ]
        compared_ = found["comparison"]
        verdict = f"{better} fits better" if better else "these gaps do not tell which of the two fits better"
        said.append(f"    beside a lognormal: {verdict} (Vuong z = {compared_['z']:.2f}, p = {compared_['p']:.2g})")
    if found["lambda_hanel"] is not None:
        asner = "" if found["lambda_asner"] is None else f", lambda (Asner 2013) {found['lambda_asner']:.3f}"
        said.append(f"    as ForestGapR has it: lambda (Hanel 2017) {found['lambda_hanel']:.3f}{asner}; no intervals")
    return said


def format_plausibility(plausibility: float | None) -> str:
    if plausibility is None:
        return ""
    return f"; {plausibility:.0%} of samples from it lie as far" + (": hardly a power law" if plausibility < 0.1 else "")


def format_clark_evans(found: Mapping[str, Any]) -> list[str]:
    if found["ratio"] is None:
        return [f"  pattern: not estimated, {found['why']}"]
    way = "at random" if found["p"] >= 0.05 else "clustered" if found["ratio"] < 1 else "evenly spaced"
    return [f"  pattern: Clark-Evans R {found['ratio']:.3f} (z = {found['z']:.2f}, p = {found['p']:.2g}): {way}; {found['method']}"]


def format_ripley(found: Mapping[str, Any] | None) -> list[str]:
    """None where there are no curves; `format_clark_evans` says why."""
    if found is None or found["why"] is not None:
        return []
    level, low, high, distances = (np.array(found[name]) for name in ("l", "l_low", "l_high", "r_m"))
    above, below = distances[level > high], distances[level < low]
    sides = ((above, "above them (clustered)"), (below, "below them (evenly spaced)"))
    parts = [f"{word} at {' to '.join(dict.fromkeys(f'{r:.3g}' for r in side[[0, -1]]))} m" for side, word in sides if len(side)]
    return [
        f"    Ripley's L to {distances[-1]:.3g} m beside {found['simulations']} simulations: "
        f"{' and '.join(parts) or 'within them all'}; p = {found['p']:.2g} for the whole curve"
    ]


def describe_gap(summary: Mapping[str, Any]) -> str:
    """The definition of a gap all numbers depend on."""
    level = summary["threshold_m"]
    height = "gaps of the map as it is" if level is None else f"canopy {'up to' if summary['at_most'] else 'below'} {level:g} m"
    return f"{height}, {describe_area_limits(summary)}"


def describe_area_limits(summary: Mapping[str, Any]) -> str:
    most = summary["maximum_area_m2"]
    return f"of at least {summary['minimum_area_m2']:g} m2" + ("" if most is None else f" and at most {most:g} m2")


def describe_survey(summary: Mapping[str, Any]) -> str:
    """What counts as a gap at every threshold, and what was surveyed; the title of a table."""
    limit = " (heights up to and including the threshold)" if summary["at_most"] else ""
    return (
        f"Gaps {describe_area_limits(summary)}{limit}, {summary['connectivity']} neighbors, {summary['resolution_m']:g} m pixels, "
        f"{format_hectares(summary['surveyed_m2'])} surveyed"
    )
