"""Pixels without data that the file does not declare, and data that it declares as none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from forestgaps_geo.bands import Band
from forestgaps_geo.findings import Finding, mostly, share
from forestgaps_geo.raster_sampling import Sample

MANY = 0.01  # of the pixels
MIN_SHARE = 1e-4  # of the pixels; fewer are single errors
ISOLATED_M = 20.0  # from all other values; the surface of a landscape has no such step in the list of its values
BELOW_GROUND_M, ABOVE_TREES_M = 5.0, 60.0
MIN_PATCHES = 0.005  # of the patches of 8 x 8 pixels
MIN_COLLAR = 4  # pixels
MIN_BORDER, MIN_BORDER_PATCHES = 0.05, 4  # of the patches along the border
MORE_THAN_INSIDE = 2  # times; a lake or a field reaches the border as often as it lies elsewhere


def check_zeros(band: Band, kind: str, seen: Sequence[Sample]) -> Finding | None:
    """Zeros far below, or above, all other elevations."""
    found, pixels = sum(one.zeros for one in seen), sum(one.valid for one in seen)
    least = min(one.least for one in seen)
    if kind == "chm" or found <= MIN_SHARE * pixels or found == pixels or least < ISOLATED_M:
        return None
    worst = max(seen, key=lambda one: one.zeros)
    return Finding(
        kind="zeros",
        severity="noted",
        sentence=(
            f"{band.path}: {share(found / pixels)} of it is exactly 0{mostly(band, worst.window)}, and nothing else lies within "
            f"{least:.0f} m of that; if 0 means no data, say so with --nodata=0 (nodata = 0 in a site list)"
        ),
        place=worst.window,
        numbers={"share": found / pixels, "least_m": least},
    )


def check_sentinel(band: Band, kind: str, seen: Sequence[Sample]) -> Finding | None:
    """One value, the lowest or the highest, in many pixels and far from all other values."""
    pixels = sum(one.valid for one in seen)
    low, high = min(one.low for one in seen), max(one.high for one in seen)
    above = min(one.above_low if one.low == low else one.low for one in seen)
    below = max(one.below_high if one.high == high else one.high for one in seen)
    lowest = sum(one.low_count for one in seen if one.low == low)
    highest = sum(one.high_count for one in seen if one.high == high)
    for value, count, gap in ((low, lowest, above - low), (high, highest, high - below)):
        if value == 0 or not MIN_SHARE * pixels < count < pixels or gap == float("inf"):
            continue
        if kind == "chm":  # values of a small CHM may lie far apart; below the ground and above all trees there are none
            frequent = count > MANY * pixels and any(one.fractional for one in seen)  # measured heights do not repeat so
            if not (value < 0 and (gap >= BELOW_GROUND_M or frequent)) and not (value > ABOVE_TREES_M and gap >= ISOLATED_M):
                continue
        elif gap < ISOLATED_M:
            continue
        stored = band.as_stored(value)
        return Finding(
            kind="sentinel",
            severity="noted",
            sentence=(
                f"{band.path}: {share(count / pixels)} of it is exactly {stored}, and nothing else lies within {gap:.3g} m of "
                f"that; if {stored} means no data, say so with --nodata={stored} (nodata = {stored} in a site list)"
            ),
            numbers={"share": count / pixels, "value": value},
        )
    return None


def check_level_zeros(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Patches of exactly 0 among elevations near it: the sea, or no data."""
    found, patches = sum(one.zero_patches for one in seen), sum(one.patches for one in seen)
    if found <= MIN_PATCHES * patches or found == patches:
        return None
    worst = max(seen, key=lambda one: one.zero_patches)
    return Finding(
        kind="zeros",
        severity="noted",
        sentence=(
            f"{band.path}: {share(found / patches)} of it is level at exactly 0{mostly(band, worst.window)}: water, or no data. If "
            "0 means no data, say so with --nodata=0 (nodata = 0 in a site list)"
        ),
        place=worst.window,
        numbers={"share": found / patches},
    )


def check_collar(band: Band, kind: str, seen: Sequence[Sample]) -> Finding | None:
    """One value along the border: a collar of no data. In a CHM zeros along a whole side, or in two corners, are one too."""
    value, part = border_value(seen)
    sides = [min((one.zero_margins[side] for one in seen if one.zero_margins[side] >= 0), default=0) for side in range(4)]
    corners = sum(one.zero_corners for one in seen)
    whole = kind == "chm" and (max(sides) >= MIN_COLLAR or corners >= 2)
    zeros, pixels = sum(one.zeros for one in seen), sum(one.valid for one in seen)
    if zeros == pixels or not (whole or part):
        return None
    value = 0.0 if whole else value
    if value != 0:
        what = f"{band.as_stored(value)} in {share(part)} of the places along its border: water, or no data"
    elif kind == "chm":
        where = (
            "along a whole side" if max(sides) >= MIN_COLLAR else f"in {corners} corners" if corners >= 2 else "along its border"
        )
        what = f"0 {where} ({share(zeros / pixels)} of its pixels are 0): bare ground, or no data, which is then counted as gap"
    else:
        what = f"0 in {share(part)} of the places along its border: water, or no data"
    stored = band.as_stored(value)
    return Finding(
        kind="zeros" if value == 0 else "collar",
        severity="noted",
        sentence=(
            f"{band.path}: holds exactly {what}. If {stored} means no data, say so with --nodata={stored} (nodata = {stored} in a "
            "site list)"
        ),
        numbers={"share": zeros / pixels, "side": max(sides), "corners": corners, "value": value, "border": part},
    )


def border_value(seen: Sequence[Sample]) -> tuple[float, float]:
    """The value that is much more frequent along the border than inside, and in which share of the patches there; 0 if in none."""
    counts: Counter[float] = Counter()
    for one in seen:
        counts.update(one.border_level)
    border, patches = sum(one.border for one in seen), sum(one.patches for one in seen)
    if not counts:
        return 0.0, 0.0
    value, count = counts.most_common(1)[0]
    inside = sum(one.zero_patches if value == 0 else one.level for one in seen) / patches if patches else 0.0
    collar = count >= MIN_BORDER_PATCHES and count >= MIN_BORDER * border and count > MORE_THAN_INSIDE * inside * border
    return value, (count / border if collar else 0.0)


def check_nodata_zero(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """0 is the height of bare ground, and the file, or the user, declares it as no data."""
    missing = sum(one.missing for one in seen)
    if band.nodata != 0 or not missing:
        return None
    pixels = missing + sum(one.valid for one in seen)
    path = band.path
    return Finding(
        kind="nodata zero",
        severity="noted",
        sentence=(
            f"{path}: 0 is declared as nodata, and {share(missing / pixels)} of its pixels hold it; 0 is also the height of bare "
            "ground, which is then left out of gaps and areas. If 0 is bare ground, add --nodata=-9999, or declare it as data: "
            f"gdal_translate -a_nodata none {path} {path.with_name(f'{path.stem}_with_ground.tif')}"
        ),
        numbers={"share": missing / pixels},
    )
