"""Plausibility checks of a raster, for every command that reads one. Each finding is a sentence.

What cannot be right is refused, unless the user adds `--skip-checks`; what may be right is noted. The checks read a few dozen
windows, so that they take seconds on a raster of any size. A few wrong pixels are found by `elevation_checks.scan_band`, which
reads all pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import evolve

from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.findings import Finding, drop_none, make_error, make_note, resolve_findings
from forestgaps_geo.checks.height_checks import (
    check_negative_heights,
    check_no_ground,
    check_offset,
    check_tall_trees,
    summarize_heights,
)
from forestgaps_geo.checks.nodata_checks import check_collar, check_sentinel, check_zero_nodata, check_zero_patches, check_zeros
from forestgaps_geo.checks.surface_checks import (
    check_constant,
    check_facets,
    check_is_chm,
    check_level_patches,
    check_no_canopy,
    check_rounding,
    check_stripes,
    check_voids,
)
from forestgaps_geo.checks.unit_checks import check_band_name, check_declared_unit, check_picture, check_unit
from forestgaps_geo.checks.value_checks import check_binary, check_fractions, check_percent
from forestgaps_geo.checks.window_statistics import WindowStatistics, sample_windows
from forestgaps_geo.grids.crs import describe_crs
from forestgaps_geo.grids.grid import Grid, apply_transform
from forestgaps_geo.grids.ground_scale import get_ground_scale

__all__ = ["Finding", "Kind", "check_dsm", "check_grid", "check_raster", "check_resolution", "resolve_findings"]

Kind: TypeAlias = Literal["dsm", "dtm", "chm"]
Check: TypeAlias = Callable[[Band, Kind, Sequence[WindowStatistics]], Finding | None]

MAX_PIXEL_SIZE_RATIO = 4.0  # of pixel sizes; beyond, crowns are no longer what a network has learned
MAX_PIXEL_SIZE_DIFFERENCE = 0.05  # of the pixel size; below, no difference worth a word

LARGE_FRACTION = 0.05  # of the pixels; so many of one value decide what else would be found
DECISIVE_CHECKS: tuple[Check, ...] = (check_binary, check_fractions, check_percent, check_picture, check_zeros)
"""Where one of these finds something, the others would only follow from it."""


def check_raster(band: Band, kind: Kind, *, is_reference: bool = False) -> list[Finding]:
    """Return the findings on a raster.

    Args:
        kind: What it should be. A CHM of zeros and ones only is noted, elevations of them are refused.
        is_reference: A map is trained on or measured by it, so that zeros and ones are refused as a CHM too.
    """
    samples = list(sample_windows(band))
    if not samples:
        return []
    first = drop_none([check_declared_unit(band), check_band_name(band)])
    for check in DECISIVE_CHECKS:
        if finding := check(band, kind, samples):
            return [*first, evolve(finding, severity="error") if is_reference and check is check_binary else finding]
    if finding := check_constant(band, samples):
        return [*first, finding]
    checks = {"dsm": check_dsm_values, "dtm": check_dtm_values, "chm": check_chm_values}
    return [*first, *checks[kind](band, samples)]


def check_dsm_values(band: Band, samples: Sequence[WindowStatistics]) -> list[Finding]:
    sentinel = check_sentinel(band, "dsm", samples)
    if sentinel and sentinel.values["fraction"] > LARGE_FRACTION:
        return [sentinel]
    instead = check_is_chm(band, samples)
    found = [
        sentinel,
        instead or check_no_canopy(band, "dsm", samples),
        check_unit(band, "dsm", samples),
        check_voids(band, samples),
    ]
    zeros = check_zero_patches(band, samples) or check_collar(band, "dsm", samples)
    return drop_none(
        [
            *found,
            zeros or check_level_patches(band, samples),
            check_facets(band, samples),
            check_rounding(band, samples),
            check_stripes(band, samples),
        ]
    )


def check_dtm_values(band: Band, samples: Sequence[WindowStatistics]) -> list[Finding]:
    zeros = check_zero_patches(band, samples) or check_collar(band, "dtm", samples)
    return drop_none([check_sentinel(band, "dtm", samples), zeros, check_unit(band, "dtm", samples), check_rounding(band, samples)])


def check_chm_values(band: Band, samples: Sequence[WindowStatistics]) -> list[Finding]:
    if sentinel := check_sentinel(band, "chm", samples):
        return [sentinel]  # it would pass for depths or heights
    heights, path = summarize_heights(samples), str(band.path)
    elevated, unit = check_no_ground(heights, path, ELEVATION_ADVICE), check_unit(band, "chm", samples)
    if elevated and elevated.severity == "error":
        above_all = 2 * elevated.values["low_20"] > max(one.high for one in samples)  # whatever the unit
        return [elevated] if above_all or unit is None or unit.severity == "note" else [unit]
    if unit and unit.severity == "error":
        return [unit]
    found = [check_zero_nodata(band, samples), unit, check_collar(band, "chm", samples), check_negative_heights(heights, path)]
    found += [elevated or check_offset(heights, path, OFFSET_ADVICE), check_no_canopy(band, "chm", samples)]
    return drop_none([*found, None if unit else check_tall_trees(heights, path), check_rounding(band, samples)])


ELEVATION_ADVICE = "it seems to hold elevations, or was made from a wrong ground. Give heights above ground (CHM = DSM - DTM)"
OFFSET_ADVICE = "it was made from a wrong ground"


# --- the grid -----------------------------------------------------------------------------------------------------------


def check_grid(path: Path, grid: Grid) -> list[Finding]:
    """Return a note where lengths in the CRS differ from those on the ground by more than 1 %."""
    scale = grid.ground_scale
    if scale.mean == scale.x == scale.y == 1:
        return []
    size = grid.nominal_resolution
    true = f"{size * scale.x:.3g} m" if scale.x == scale.y else f"{size * scale.x:.3g} x {size * scale.y:.3g} m"
    unit_m = grid.unit_m / scale.mean
    corners = [apply_transform(grid.transform, x, y) for x in (0, grid.columns) for y in (0, grid.rows)]
    area = scale.x * scale.y
    off = max(abs(there.x * there.y / area - 1) for x, y in corners for there in [get_ground_scale(grid.crs, x, y, unit_m)])
    sentence = (
        f"{path}: lengths in {describe_crs(grid.crs)} are not those on the ground here; a pixel of {size:g} m is {true} on the "
        "ground. Pixel sizes and areas are given as on the ground"
    )
    if off > 0.02:
        sentence += f", measured at the middle of the raster; towards its corners they are off by up to {100 * off:.0f} %"
    return [make_note("ground scale", sentence, values={"x": scale.x, "y": scale.y, "off": off})]


# --- a DSM for a network --------------------------------------------------------------------------------------------------


def check_dsm(band: Band, resolution_m: float, trained_m: float, finest: float | None = None) -> list[Finding]:
    """Return the findings on a DSM that is mapped at a pixel size, by a network that was trained at another or the same.

    Args:
        finest: The finest pixels the network maps well, times those of its training, where that is known.
    """
    size = check_resolution(resolution_m, trained_m, finest)
    return [*([size] if size else []), *check_raster(band, "dsm")]


def check_resolution(resolution_m: float, trained_m: float, finest: float | None = None) -> Finding | None:
    """Whether a DSM has the pixel size a network learned at, or one that it maps as well."""
    times = resolution_m / trained_m
    if abs(times - 1) <= MAX_PIXEL_SIZE_DIFFERENCE:
        return None
    problem = f"the DSM has pixels of {resolution_m:.6g} m, the network learned at {trained_m:g} m"
    numbers = {"pixel_m": resolution_m, "trained_m": trained_m}
    if finest is not None and times < 1:
        if times >= 0.999 * finest:
            sentence = f"{problem}: it is mapped at its own pixel size, which gives better maps than --resample"
            return make_note("pixel size", sentence, values=numbers)
        least = finest * trained_m
        sentence = f"{problem} and maps pixels down to {least:g} m. Add --resample --resolution {least:g} to bring the DSM there"
        return make_error("pixel size", sentence, values=numbers)
    if 1 / MAX_PIXEL_SIZE_RATIO <= times <= MAX_PIXEL_SIZE_RATIO:
        would = "; --resample brings it there" if times < 1 else ""
        return make_note("pixel size", f"{problem}: expect a worse map{would}", values=numbers)
    would = "--resample brings it there" if times < 1 else "take a finer DSM, or a network trained on such pixels"
    sentence = f"{problem}, more than {MAX_PIXEL_SIZE_RATIO:g} times apart: crowns do not look alike at both; {would}"
    return make_error("pixel size", sentence, values=numbers)
