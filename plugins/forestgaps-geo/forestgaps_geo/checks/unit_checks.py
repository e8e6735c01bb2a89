"""Check whether a raster is in meters, by the unit of its grid and the height of its canopy."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.findings import Finding, Severity, make_error, make_note
from forestgaps_geo.checks.window_statistics import CROWN_M, WindowStatistics
from forestgaps_geo.files.virtual_rasters import sanitize_text
from forestgaps_geo.grids.crs import get_meters_per_unit, get_unit_name

MAX_USUAL_DROP_M, IMPOSSIBLE_DROP_M = (
    60.0,
    120.0,
)  # within 8 m in a tenth of the cells; real surveys up to 42, simulated ones up to 50
MAX_USUAL_HEIGHT_M, IMPOSSIBLE_HEIGHT_M = (
    65.0,
    130.0,
)  # the tallest tree of a cell, in a tenth of the cells; the tallest known tree has 116
MIN_CANOPY_M = 4.0  # a unit that would make the canopy lower than this is not proposed
UNITS = (
    ("feet", "--feet", 0.3048),
    ("decimeters", "--scale 0.1", 0.1),
    ("centimeters", "--scale 0.01", 0.01),
    ("millimeters", "--scale 0.001", 0.001),
)
UNIT_IN_NAME = re.compile(
    r"(?<![a-z])(?:(?P<feet>feet|foot|ft)|(?P<decimeters>decimet(?:re|er)s?|dm)|(?P<centimeters>centimet(?:re|er)s?|cm)|"
    r"(?P<millimeters>millimet(?:re|er)s?|mm))(?![a-z])"
)


def check_declared_unit(band: Band) -> Finding | None:
    """A unit that only the file declares is converted, with a note."""
    if not band.declared_unit:
        return None
    return make_note(
        "declared unit",
        (
            f"{band.path}: the file declares heights in {band.declared_unit}; they are converted to meters (times "
            f"{band.unit_m:.6g}). Add --scale 1 if they are meters"
        ),
        values={"unit_m": band.unit_m},
    )


def check_band_name(band: Band) -> Finding | None:
    """A unit in the name of the band, such as "height_ft", which no program reads as one."""
    found = UNIT_IN_NAME.search(band.source.description.lower())
    if found is None or band.unit_is_stated or band.declared_unit:
        return None
    name, option = next(unit[:2] for unit in UNITS if found[unit[0]])
    return make_note(
        "unit in a name",
        (
            f"{band.path}: its band is called {sanitize_text(band.source.description)!r}, and it declares no unit, so it is read "
            f"in meters. Add {option} if its values are in {name}"
        ),
    )


def check_unit(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Values that are probably not meters: the grid is in feet, or trees would be taller than trees grow."""
    of_drops = kind != "chm"
    cells = np.concatenate([one.drops if of_drops else one.highs for one in samples])
    canopy = float(np.percentile(cells, 90)) if cells.size and kind != "dtm" else 0.0
    tall, impossible = (MAX_USUAL_DROP_M, IMPOSSIBLE_DROP_M) if of_drops else (MAX_USUAL_HEIGHT_M, IMPOSSIBLE_HEIGHT_M)
    crs = band.grid.crs
    stated = band.unit_is_stated or bool(band.declared_unit)
    feet = not stated and crs is not None and not crs.is_geographic and abs(get_meters_per_unit(crs) - 0.3048) < 1e-3
    if not feet and canopy <= tall:
        return None
    what = "elevations" if of_drops else "heights"
    why = [f"its grid is in {get_unit_name(crs)}"] if feet else []
    if canopy > tall:
        why += [
            f"in a tenth of it there are drops of {canopy:.0f} or more within {CROWN_M:g} m"
            if of_drops
            else f"in a tenth of it the highest canopy is {canopy:.0f} or more, taller than trees grow"
        ]
    units = find_possible_units(canopy / band.unit_m, tall, in_feet=feet, whole=all(one.fractional == 0 for one in samples))
    names = " or ".join(f"{name} ({option})" for name, option in units)
    severity: Severity = "error" if canopy > impossible else "note"
    advice = f", so its {what} may be in {names}. Add the option if they are" if names else ". Check what it holds"
    return Finding(
        kind="feet" if units and units[0][0] == "feet" else "unit",
        severity=severity,
        message=f"{band.path}: {' and '.join(why)}{advice}{'' if feet else describe_lookalikes(band, kind, samples)}",
        values={"drop" if of_drops else "canopy": canopy, "grid_unit_m": get_meters_per_unit(crs)},
    )


def find_possible_units(canopy: float, tall: float, *, in_feet: bool, whole: bool) -> list[tuple[str, str]]:
    """Return units in which a canopy would have a height that trees have, with the option that converts them.

    Args:
        canopy: Its height in units of the raster; 0 where it is not known.
        whole: Values are whole numbers: decimeters and finer are stored so, feet seldom.
    """
    fitting = [unit for unit in UNITS if MIN_CANOPY_M <= canopy * unit[2] <= tall]
    likely = [unit for unit in fitting if unit[0] == "feet" or canopy * unit[2] >= 2 * MIN_CANOPY_M]
    found = [unit[:2] for unit in (likely if likely and likely[-1][0] != "feet" else fitting)]
    if in_feet and canopy <= tall / 0.3048:
        return [("feet", "--feet"), *(pair for pair in found if pair[0] != "feet" and whole and canopy > tall)]
    if whole and len(found) > 1:
        found = [pair for pair in found if pair[0] != "feet"]
    elif not whole and found and found[0][0] == "feet":
        found = found[:1]
    return found


def describe_lookalikes(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> str:
    """What else holds such values, at the end of a sentence."""
    if band.source.dtype.name == "uint8":
        return ". A hillshade or another picture looks like this too"
    if kind == "chm" and max(one.high for one in samples) <= 90:
        return ". Slope in degrees looks like this too"
    return ""


def check_picture(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Bytes from black to white in neighboring pixels: a hillshade or another picture where elevations are expected."""
    if kind == "chm" or band.source.dtype.name != "uint8" or band.unit_m != 1.0:
        return None
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    drops = np.concatenate([one.drops for one in samples])
    if high - low < 100 or not drops.size or np.percentile(drops, 90) < 40:
        return None
    return make_error(
        "picture",
        (
            f"{band.path}: holds bytes that change by {np.percentile(drops, 90):.0f} or more within {CROWN_M:g} m in a tenth of "
            "it, so this looks like a hillshade or another picture, not like elevations. Give the raster of elevations"
        ),
        values={"low": low, "high": high},
    )
