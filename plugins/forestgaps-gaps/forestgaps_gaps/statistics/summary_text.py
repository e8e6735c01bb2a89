"""The summary of a map's gaps as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from forestgaps_core.output.counts import format_count, format_hectares, format_square_meters

OPEN_LAND_FRACTION = 0.5  # with a larger gap fraction, gaps merge into one (site percolation: 0.41 of random pixels, 8 neighbors)


def format_summary(summary: Mapping[str, Any]) -> list[str]:
    """Return the summary as lines for a terminal."""
    surveyed = format_hectares(summary["surveyed_m2"])
    if not summary["gaps"]:
        return [f"no {describe_gap(summary)} on {surveyed} surveyed"]
    area, nearest = summary["area_m2"], summary["nearest_m"]
    mean, median, largest, deviation = (format_square_meters(area[key]) for key in ("mean", "median", "largest", "sd"))
    lines = [
        f"{format_count(summary['gaps'], 'gap')}: {describe_gap(summary)}, {summary['connectivity']} neighbors",
        f"  {format_square_meters(summary['gap_area_m2'])} m2, {summary['gap_fraction']:.2%} of {surveyed} surveyed; "
        f"{summary['gaps_per_hectare']:.3g} gaps per hectare",
        f"  area: mean {mean} m2, median {median}, largest {largest}"
        + (f", standard deviation {deviation}" if area["sd"] is not None else ""),
        f"  shape index: mean {summary['shape_index']['mean']:.3g} (1 for a circle, 1.13 for a square)",
    ]
    if summary["height_mean_m"] is not None:
        lines.append(f"  mean height inside: {summary['height_mean_m']:.3g} m")
    if nearest["mean"] is not None:
        lines.append(f"  to the next gap: mean {nearest['mean']:.3g} m, median {nearest['median']:.3g} m")
    if summary["touching_edge"]:
        lines.append(f"  {format_count(summary['touching_edge'], 'gap')} touching the edge of the survey, so possibly larger")
    if summary["gap_fraction"] > OPEN_LAND_FRACTION:
        lines.append(
            f"  more than {OPEN_LAND_FRACTION:.0%} of the area is gap: this is open land with trees, where gap sizes and patterns "
            "mean little"
        )
    return [*lines, *format_sizes(summary), *format_clark_evans(summary["clark_evans"]), *format_ripley(summary["ripley"])]


def format_sizes(summary: Mapping[str, Any]) -> list[str]:
    found, better = summary["size_distribution"], summary["size_distribution"]["comparison"]["better"]
    basis = f"{describe_gap(summary)}, {summary['resolution_m']:g} m pixels"
    if found["exponent"] is None:
        lines = [f"  gap sizes: no power-law exponent: {found['why']} ({basis})"]
    else:
        high = "without upper limit" if found["high"] is None else f"to {found['high']:.3f}"
        lines = [
            f"  gap sizes: power-law exponent {found['exponent']:.3f}, 95 % interval {found['low']:.3f} {high}, for {basis}",
            f"    distance from this law {found['distance']:.3f}{format_plausibility(found['plausibility'])}",
        ]
        comparison = found["comparison"]
        verdict = f"{better} fits better" if better else "the difference is not significant"
        lines.append(f"    compared with a lognormal: {verdict} (Vuong z = {comparison['z']:.2f}, p = {comparison['p']:.2g})")
    if found["lambda_hanel"] is not None:
        asner = "" if found["lambda_asner"] is None else f", lambda (Asner 2013) {found['lambda_asner']:.3f}"
        lines.append(f"    estimators of ForestGapR: lambda (Hanel 2017) {found['lambda_hanel']:.3f}{asner}; no intervals")
    return lines


def format_plausibility(plausibility: float | None) -> str:
    if plausibility is None:
        return ""
    return f"; {plausibility:.0%} of samples from it are as far from their fit" + (
        ": a power law is implausible" if plausibility < 0.1 else ""
    )


def format_clark_evans(found: Mapping[str, Any]) -> list[str]:
    if found["ratio"] is None:
        return [f"  pattern: not estimated, {found['why']}"]
    way = "at random" if found["p"] >= 0.05 else "clustered" if found["ratio"] < 1 else "evenly spaced"
    return [f"  pattern: Clark-Evans R {found['ratio']:.3f} (z = {found['z']:.2f}, p = {found['p']:.2g}): {way}; {found['method']}"]


def format_ripley(found: Mapping[str, Any] | None) -> list[str]:
    """Return no lines if there are no curves; `format_clark_evans` gives the reason."""
    if found is None or found["why"] is not None:
        return []
    level, low, high, distances = (np.array(found[name]) for name in ("l", "l_low", "l_high", "r_m"))
    above, below = distances[level > high], distances[level < low]
    sides = ((above, "above them (clustered)"), (below, "below them (evenly spaced)"))
    parts = [f"{word} at {' to '.join(dict.fromkeys(f'{r:.3g}' for r in side[[0, -1]]))} m" for side, word in sides if len(side)]
    return [
        f"    Ripley's L to {distances[-1]:.3g} m compared with {found['simulations']} simulations: "
        f"{' and '.join(parts) or 'within all of them'}; p = {found['p']:.2g} for the whole curve"
    ]


def describe_gap(summary: Mapping[str, Any]) -> str:
    """Return the definition of a gap, on which all statistics depend."""
    level = summary["threshold_m"]
    height = "gaps of the map" if level is None else f"canopy {'up to' if summary['at_most'] else 'below'} {level:g} m"
    return f"{height}, {describe_area_limits(summary)}"


def describe_area_limits(summary: Mapping[str, Any]) -> str:
    most = summary["maximum_area_m2"]
    return f"of at least {summary['minimum_area_m2']:g} m2" + ("" if most is None else f" and at most {most:g} m2")


def describe_survey(summary: Mapping[str, Any]) -> str:
    """Return the title of a table: what is a gap at every threshold, and the surveyed area."""
    limit = " (heights up to and including the threshold)" if summary["at_most"] else ""
    return (
        f"Gaps {describe_area_limits(summary)}{limit}, {summary['connectivity']} neighbors, {summary['resolution_m']:g} m pixels, "
        f"{format_hectares(summary['surveyed_m2'])} surveyed"
    )
