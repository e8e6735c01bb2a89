"""Check whether values are heights above ground: how often they are near 0, below it, or taller than trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from forestgaps_geo.bands.band import FloatArray
from forestgaps_geo.checks.findings import Finding, Severity, format_fraction, make_error, make_note
from forestgaps_geo.checks.window_statistics import MAX_TREE_M, WindowStatistics

MIN_CELLS = 8  # cells in which ground may show
MIN_OFFSET_M = 1.2  # real and simulated CHMs: the lowest of 5 % of the cells is at most 0.5, that of 80 % at least -0.8
MAX_SCATTER_M = 1.5


@frozen(eq=False, kw_only=True)
class HeightStatistics:
    """Heights above ground, measured in windows.

    Attributes:
        pixels: With data.
        below: Of them, those under -1 m.
        tall: Those over `MAX_TREE_M`.
        lows: The lowest height of each cell of 64 m.
    """

    pixels: int
    below: int
    tall: int
    lows: FloatArray


def summarize_heights(samples: Sequence[WindowStatistics]) -> HeightStatistics:
    return HeightStatistics(
        pixels=sum(one.valid for one in samples),
        below=sum(one.below for one in samples),
        tall=sum(one.tall for one in samples),
        lows=np.concatenate([one.lows for one in samples]),
    )


def check_negative_heights(heights: HeightStatistics, path: str) -> Finding | None:
    """A CHM that lies below the ground in places."""
    below = heights.below / heights.pixels
    if below <= 0.01:
        return None
    problem = f"{path}: {format_fraction(below)} of its pixels are under -1 m"
    numbers = {"below": below}
    if below > 0.1:
        sentence = f"{problem}, so it is no canopy height model, or was made from a wrong ground"
        return make_error("negative heights", sentence, values=numbers)
    return make_note("negative heights", f"{problem}; such heights count as gap", values=numbers)


def compute_low_height(heights: HeightStatistics) -> float:
    """Return the height that the lowest points of a fifth of the places lie under, meters."""
    return float(np.percentile(heights.lows, 20)) if heights.lows.size else 0.0


def check_no_ground(heights: HeightStatistics, named: str, why: str) -> Finding | None:
    """Heights that never come down to the ground."""
    low = compute_low_height(heights)
    if low <= 12:
        return None
    refused = low > 30
    often = "never" if refused else "seldom"
    problem = f"{named}: heights {often} come near the ground, in four of five places none is under {low:.0f} m"
    sentence = f"{problem}: {why}" if refused else f"{problem}; if this is no tall closed forest, {why}"
    severity: Severity = "error" if refused else "note"
    return Finding(kind="no ground", severity=severity, message=sentence, values={"low_20": low})


def check_offset(heights: HeightStatistics, named: str, why: str) -> Finding | None:
    """The lowest heights of nearly all places lie near one value that is not 0: a constant was added to one of the surfaces."""
    if heights.lows.size < MIN_CELLS:
        return None
    lowest, middle, most = (float(value) for value in np.percentile(heights.lows, (5, 50, 80)))
    above, below = lowest > MIN_OFFSET_M, most < -MIN_OFFSET_M
    if not (above or below) or most - lowest > MAX_SCATTER_M:
        return None
    problem = f"{named}: in {heights.lows.size} places the lowest heights lie between {lowest:.1f} and {most:.1f} m, not near 0"
    sentence = f"{problem}; if ground shows there, {why}: {middle:.1f} m too {'high' if above else 'low'}"
    return make_note("offset", sentence, values={"offset_m": middle, "scatter_m": most - lowest})


def check_tall_trees(heights: HeightStatistics, named: str) -> Finding | None:
    """A few heights beyond those of trees."""
    if compute_low_height(heights) > 30 or heights.tall <= 0.001 * heights.pixels:
        return None
    part = heights.tall / heights.pixels
    problem = f"{named}: {format_fraction(part)} of heights are over {MAX_TREE_M:g} m, more than trees grow"
    sentence = f"{problem}; are they in feet (--feet), or do they hold towers, cables or clouds?"
    return make_note("too tall", sentence, values={"fraction": part})
