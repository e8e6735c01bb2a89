"""Find missing data that the file does not declare, and data that it declares as missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.findings import Finding, format_fraction, format_location, make_note, note_fraction
from forestgaps_geo.checks.window_statistics import WindowStatistics

MIN_REPEATED_FRACTION = 0.01  # of the pixels
MIN_FRACTION = 1e-4  # of the pixels; fewer are single errors
MIN_ISOLATION_M = 20.0  # from all other values; the surface of a landscape has no such step in the list of its values
BELOW_GROUND_M, ABOVE_TREES_M = 5.0, 60.0
MIN_PATCH_FRACTION = 0.005  # of the patches of 8 x 8 pixels
MIN_COLLAR_PIXELS = 4  # pixels
MIN_BORDER_FRACTION, MIN_BORDER_PATCHES = 0.05, 4  # of the patches along the border
MIN_BORDER_RATIO = 2  # times; a lake or a field reaches the border as often as it lies elsewhere


def check_zeros(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Zeros far below, or above, all other elevations."""
    found, pixels = sum(one.zeros for one in samples), sum(one.valid for one in samples)
    least = min(one.least for one in samples)
    if kind == "chm" or found <= MIN_FRACTION * pixels or found == pixels or least < MIN_ISOLATION_M:
        return None
    worst = max(samples, key=lambda one: one.zeros)
    return make_note(
        "zeros",
        (
            f"{band.path}: {format_fraction(found / pixels)} of it is exactly 0{format_location(band, worst.window)}, and "
            f"nothing else lies within {least:.0f} m of that; if 0 means no data, say so with --nodata=0 (nodata = 0 in a site "
            "list)"
        ),
        window=worst.window,
        values={"fraction": found / pixels, "least_m": least},
    )


def check_sentinel(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """One value, the lowest or the highest, in many pixels and far from all other values."""
    pixels = sum(one.valid for one in samples)
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    above = min(one.above_low if one.low == low else one.low for one in samples)
    below = max(one.below_high if one.high == high else one.high for one in samples)
    lowest = sum(one.low_count for one in samples if one.low == low)
    highest = sum(one.high_count for one in samples if one.high == high)
    for value, count, gap in ((low, lowest, above - low), (high, highest, high - below)):
        if value == 0 or not MIN_FRACTION * pixels < count < pixels or gap == float("inf"):
            continue
        if kind == "chm":  # values of a small CHM may lie far apart; below the ground and above all trees there are none
            frequent = count > MIN_REPEATED_FRACTION * pixels and any(
                one.fractional for one in samples
            )  # measured heights do not repeat so
            if not (value < 0 and (gap >= BELOW_GROUND_M or frequent)) and not (value > ABOVE_TREES_M and gap >= MIN_ISOLATION_M):
                continue
        elif gap < MIN_ISOLATION_M:
            continue
        stored = band.as_stored(value)
        return make_note(
            "sentinel",
            (
                f"{band.path}: {format_fraction(count / pixels)} of it is exactly {stored}, and nothing else lies within "
                f"{gap:.3g} m of that; if {stored} means no data, say so with --nodata={stored} (nodata = {stored} in a site list)"
            ),
            values={"fraction": count / pixels, "value": value},
        )
    return None


def check_zero_patches(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Patches of exactly 0 among elevations near it: the sea, or no data."""
    if sum(one.zero_patches for one in samples) == sum(one.patches for one in samples):
        return None
    return note_fraction(
        "zeros",
        band,
        samples,
        count=lambda one: one.zero_patches,
        total=lambda one: one.patches,
        limit=MIN_PATCH_FRACTION,
        message="{fraction} of it is level at exactly 0{location}: water, or no data. If 0 means no data, say so with --nodata=0 "
        "(nodata = 0 in a site list)",
    )


def check_collar(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """One value along the border: a collar of no data. In a CHM zeros along a whole side, or in two corners, are one too."""
    value, part = find_border_value(samples)
    sides = [min((one.zero_margins[side] for one in samples if one.zero_margins[side] >= 0), default=0) for side in range(4)]
    corners = sum(one.zero_corners for one in samples)
    whole = kind == "chm" and (max(sides) >= MIN_COLLAR_PIXELS or corners >= 2)
    zeros, pixels = sum(one.zeros for one in samples), sum(one.valid for one in samples)
    if zeros == pixels or not (whole or part):
        return None
    value = 0.0 if whole else value
    if value != 0:
        what = f"{band.as_stored(value)} in {format_fraction(part)} of the places along its border: water, or no data"
    elif kind == "chm":
        in_corners = f"in {corners} corners" if corners >= 2 else "along its border"
        where = "along a whole side" if max(sides) >= MIN_COLLAR_PIXELS else in_corners
        of_all = f"{format_fraction(zeros / pixels)} of its pixels are 0"
        what = f"0 {where} ({of_all}): bare ground, or no data, which is then counted as gap"
    else:
        what = f"0 in {format_fraction(part)} of the places along its border: water, or no data"
    stored = band.as_stored(value)
    return make_note(
        "zeros" if value == 0 else "collar",
        (
            f"{band.path}: holds exactly {what}. If {stored} means no data, say so with --nodata={stored} (nodata = {stored} in a "
            "site list)"
        ),
        values={"fraction": zeros / pixels, "side": max(sides), "corners": corners, "value": value, "border": part},
    )


def find_border_value(samples: Sequence[WindowStatistics]) -> tuple[float, float]:
    """The value that is much more frequent along the border than inside, and in which share of the patches there; 0 if in none."""
    counts: Counter[float] = Counter()
    for one in samples:
        counts.update(one.border_level)
    border, patches = sum(one.border for one in samples), sum(one.patches for one in samples)
    if not counts:
        return 0.0, 0.0
    value, count = counts.most_common(1)[0]
    inside = sum(one.zero_patches if value == 0 else one.level for one in samples) / patches if patches else 0.0
    collar = count >= MIN_BORDER_PATCHES and count >= MIN_BORDER_FRACTION * border and count > MIN_BORDER_RATIO * inside * border
    return value, (count / border if collar else 0.0)


def check_zero_nodata(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """0 is the height of bare ground, and the file, or the user, declares it as no data."""
    missing = sum(one.missing for one in samples)
    if band.nodata != 0 or not missing:
        return None
    pixels = missing + sum(one.valid for one in samples)
    path = band.path
    return make_note(
        "nodata zero",
        (
            f"{path}: 0 is declared as nodata, and {format_fraction(missing / pixels)} of its pixels hold it; 0 is also the "
            "height of bare ground, which is then left out of gaps and areas. If 0 is bare ground, add --nodata=-9999, or "
            f"declare it as data: gdal_translate -a_nodata none {path} {path.with_name(f'{path.stem}_with_ground.tif')}"
        ),
        values={"fraction": missing / pixels},
    )
