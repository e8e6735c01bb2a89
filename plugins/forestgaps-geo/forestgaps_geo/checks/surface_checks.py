"""Find causes of a poor DSM: canopy heights, voids, filled holes, rounding, stripes.

The limits were set on 12 lidar DSMs, 15 CHMs and 30 simulated landscapes: none of the DSMs is refused, and each of the CHMs
given as a DSM is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.findings import Finding, format_fraction, make_error, make_note, note_fraction
from forestgaps_geo.checks.surface_shapes import STANDING_M, Jumps
from forestgaps_geo.checks.window_statistics import ROUNDING_STEPS_M, WindowStatistics

MIN_CROWN_CELLS = 25
UNIT_ADVICE = ", or add --scale 0.1 if these are decimeters, --scale 0.01 if they are centimeters"
MAX_STANDING_FRACTION = 0.01  # of the cells of a crown; real and simulated terrain has up to 0.9 %, real surfaces at least 15 %
MIN_SMOOTH_HEIGHT_M = 5.0


def check_constant(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    if low < high:
        return None
    return make_note(
        "one value",
        f"{band.path}: has one value, {low:g} m, wherever it was looked at; no canopy can be seen in it",
        values={"value": low},
    )


def check_is_chm(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Ground at zero everywhere, and something standing on it: a CHM where a DSM is expected."""
    lows = np.abs(np.concatenate([one.lows for one in samples]))
    highs = np.concatenate([one.highs for one in samples])
    if not lows.size or np.percentile(highs, 90) < 2:
        return None
    fifth, half, most = (float(value) for value in np.percentile(lows, (20, 50, 95)))
    if fifth > 1 or half > 3 or most > 10:
        return None
    return make_error(
        "canopy heights",
        (
            f"{band.path}: the ground is near zero everywhere (of the lowest points of {lows.size} places half lie within "
            f"{half:.1f} m of zero, 95 % within {most:.1f} m), so this looks like canopy heights (a CHM), not like elevations (a "
            "DSM); a CHM needs no network, its gaps are where it is lower than the threshold"
        ),
        values={"places": lows.size, "low_20": fifth, "low_50": half, "low_95": most},
    )


def check_no_canopy(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """A surface on which nothing stands: terrain where a DSM is expected; terrain, slope or a blurred raster where a CHM is."""
    cells, standing = sum(one.crown_cells for one in samples), sum(one.standing for one in samples)
    if cells < MIN_CROWN_CELLS or standing > MAX_STANDING_FRACTION * cells:
        return None
    numbers = {"cells": cells, "standing": standing}
    rise = f"in {format_fraction(1 - standing / cells)} of it nothing stands more than {STANDING_M:g} m above what is beside it"
    if kind == "dsm":
        sentence = f"{band.path}: {rise}, so no taller canopy can be seen in it. If this is terrain (a DTM), give the DSM"
        return make_note("no canopy", sentence, values=numbers)
    highs = np.concatenate([one.highs for one in samples])
    if not highs.size or np.percentile(highs, 50) < MIN_SMOOTH_HEIGHT_M:
        return None
    sentence = (
        f"{band.path}: {rise}, though it reaches {np.percentile(highs, 50):.0f} m in half of the places: canopy is rougher. If "
        "these are elevations, slopes, or heights enlarged from much coarser pixels, give the CHM (DSM - DTM)"
    )
    return make_note("smooth heights", sentence, values=numbers)


def check_voids(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Holes inside the survey."""
    return note_fraction(
        "voids",
        band,
        samples,
        count=lambda one: one.void,
        total=lambda one: one.void + one.valid,
        limit=0.05,
        message="{fraction} of the pixels inside the survey hold no data{location}; nothing is mapped there, and heights beside a "
        "hole are less certain",
    )


def check_level_patches(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Patches of one value: water, or filled holes."""
    return note_fraction(
        "level patches",
        band,
        samples,
        count=lambda one: one.level,
        total=lambda one: one.patches,
        limit=0.005,
        message="{fraction} of it is perfectly level{location}: water, or holes that were filled; neither is canopy or gap, so "
        "mask it",
    )


def check_facets(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Patches that are tilted planes: holes filled by triangles."""
    return note_fraction(
        "facets",
        band,
        samples,
        count=lambda one: one.plane,
        total=lambda one: one.patches,
        limit=0.01,
        message="{fraction} of it are smooth tilted planes{location}: holes filled by triangles, or a surface enlarged from "
        "coarser pixels; do not trust gaps there",
    )


def check_rounding(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Elevations rounded to whole meters or decimeters."""
    pixels = sum(one.valid for one in samples)
    for number, step in enumerate(ROUNDING_STEPS_M):
        rounded = sum(one.on_step[number] for one in samples) / pixels
        if rounded >= 0.99 and pixels >= 1000 and band.unit_m == 1.0:
            return make_note(
                "rounded",
                (
                    f"{band.path}: its values are rounded to {step:g} m, so heights are no better than that; was it saved in "
                    f"integers? Take the original if there is one{'' if step < 1 or band.unit_is_stated else UNIT_ADVICE}"
                ),
                values={"step_m": step, "fraction": rounded},
            )
    return None


def check_stripes(band: Band, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Steps along rows or columns, of a sensor or of the border of two surveys."""
    both: list[tuple[str, list[tuple[WindowStatistics, Jumps]]]] = [
        ("columns", [(one, one.columns) for one in samples if one.columns.places.size]),
        ("rows", [(one, one.rows) for one in samples if one.rows.places.size]),
    ]
    line, hit = max(both, key=lambda pair: sum(jumps.places.size for _, jumps in pair[1]))
    if not hit:
        return None
    worst, jumps = max(hit, key=lambda pair: float(np.abs(pair[1].sizes).max()))
    biggest = int(np.argmax(np.abs(jumps.sizes)))
    size = float(np.abs(jumps.sizes[biggest]))
    place = int(jumps.places[biggest]) + worst.window[1 if line == "columns" else 0]
    count = sum(found.places.size for _, found in hit)
    return make_note(
        "stripes",
        (
            f"{band.path}: steps between {line} in {len(hit)} of {len(samples)} windows looked at, the largest of {size:.2f} m "
            f"after {line[:-1]} {place}: stripes of a sensor, or surveys that do not fit (rows of trees along the "
            "grid and pixels enlarged from coarser ones look alike); do not trust gaps there at thresholds near the height of "
            "the steps"
        ),
        window=worst.window,
        values={"steps": count, "windows": len(hit), "size_m": size},
    )
