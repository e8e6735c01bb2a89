"""Plausibility checks of a raster before use. Each finding is a sentence.

What cannot be right is refused, unless the user adds `--skip-checks`; what may be right is noted. The checks read a few dozen
windows, so that they take seconds on a raster of any size; a few wrong pixels are found by `bands.survey`, which reads them all.

The limits were set on 12 lidar DSMs, 15 CHMs and 30 simulated landscapes: none of the DSMs is refused, and each of the CHMs
given as a DSM is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from attrs import field, frozen

from forestgaps_core.errors import DataError
from forestgaps_geo.bands import Band
from forestgaps_geo.grids import metres, unit
from forestgaps_geo.raster_sampling import NEAR, STEPS, Jumps, Sample, sample_windows

Severity: TypeAlias = Literal["refused", "noted"]
Window: TypeAlias = tuple[int, int, int, int]  # row, column, rows, columns

FAR = 4.0  # times the pixel size a network learned at; beyond, crowns are no longer what it knows
STEEP = 60.0  # metres; in surveys up to 42 in a tenth of the cells, in simulated landscapes up to 50
OFF = 0.05  # of the pixel size; below, no difference worth a word


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        kind: A short name, such as "canopy heights".
        sentence: What was found, where, and what would do.
        place: Where it shows best, row, column, rows, columns; None where it is everywhere.
        numbers: What the judgement rests on.
    """

    kind: str
    severity: Severity
    sentence: str
    place: Window | None = None
    numbers: Mapping[str, float] = field(factory=dict)


def resolve_findings(findings: Iterable[Finding], *, skip: bool) -> tuple[str, ...]:
    """Return the sentences of all findings.

    Args:
        skip: Return refusals as well instead of raising them.

    Raises:
        DataError: Something is refused.
    """
    found = tuple(findings)
    refused = [finding.sentence for finding in found if finding.severity == "refused"]
    if refused and not skip:
        raise DataError("\n".join(refused) + "\nAdd --skip-checks to use the raster as it is")
    return tuple(finding.sentence for finding in found)


# --- one raster -------------------------------------------------------------------------------------------------------


def check_surface(band: Band) -> list[Finding]:
    """Return the findings on a DSM."""
    seen = list(sample_windows(band))
    if not seen:
        return []
    alone = constant(band, seen) or zeros(band, seen)  # with these nothing else can be told
    checks = (heights_instead, in_feet, voids, level_ground, facets, coarse_steps, stripes)
    return [alone] if alone else [finding for check in checks if (finding := check(band, seen))]


def check_dsm(band: Band, resolution_m: float, trained_m: float) -> list[Finding]:
    """Return the findings on a DSM that is mapped at a pixel size, by a network that was trained at another or the same."""
    size = check_resolution(resolution_m, trained_m)
    return [*([size] if size else []), *check_surface(band)]


def check_resolution(resolution_m: float, trained_m: float) -> Finding | None:
    """Whether a DSM has the pixel size a network learned at."""
    times = resolution_m / trained_m
    if abs(times - 1) <= OFF:
        return None
    said = f"the DSM has pixels of {resolution_m:g} m, the network learned at {trained_m:g} m"
    numbers = {"pixel_m": resolution_m, "trained_m": trained_m}
    if 1 / FAR <= times <= FAR:
        would = "; --resample brings it there" if times < 1 else ""
        return Finding(kind="pixel size", severity="noted", sentence=f"{said}: expect a worse map{would}", numbers=numbers)
    would = "--resample brings it there" if times < 1 else "take a finer DSM, or a network trained on such pixels"
    sentence = f"{said}, more than {FAR:g} times apart: crowns do not look alike at both; {would}"
    return Finding(kind="pixel size", severity="refused", sentence=sentence, numbers=numbers)


def constant(band: Band, seen: Sequence[Sample]) -> Finding | None:
    low, high = min(one.low for one in seen), max(one.high for one in seen)
    if low < high:
        return None
    return Finding(
        kind="one value",
        severity="noted",
        sentence=f"{band.path}: has one value, {low:g} m, wherever it was looked at; no canopy can be seen in it",
        numbers={"value": low},
    )


def heights_instead(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Ground at zero everywhere, and something standing on it: a CHM where a DSM is expected."""
    lows = np.abs(np.concatenate([one.lows for one in seen]))
    highs = np.concatenate([one.highs for one in seen])
    if not lows.size or np.percentile(highs, 90) < 2:
        return None
    fifth, half, most = (float(value) for value in np.percentile(lows, (20, 50, 95)))
    if fifth > 1 or half > 3 or most > 10:
        return None
    return Finding(
        kind="canopy heights",
        severity="refused",
        sentence=(
            f"{band.path}: the ground is near zero everywhere (of the lowest points of {lows.size} places half lie within "
            f"{half:.1f} m of zero, 95 % within {most:.1f} m), so this looks like canopy heights (a CHM), not like elevations (a "
            "DSM); a CHM needs no network, its gaps are where it is lower than the threshold"
        ),
        numbers={"places": lows.size, "low_20": fifth, "low_50": half, "low_95": most},
    )


def in_feet(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Elevations that are probably in feet: the grid is, or crowns stand higher than trees grow."""
    if band.unit_m != 1.0:
        return None
    drops = np.concatenate([one.drops for one in seen])
    drop = float(np.percentile(drops, 90)) if drops.size else 0.0
    crs = band.grid.crs
    feet = crs is not None and not crs.is_geographic and abs(metres(crs) - 0.3048) < 1e-3
    if not feet and drop <= STEEP:
        return None
    why = [f"its grid is in {unit(crs)}"] if feet else []
    why += [f"in a tenth of it there are drops of {drop:.0f} or more within {NEAR:g} m"] if drop > STEEP else []
    return Finding(
        kind="feet",
        severity="noted",
        sentence=f"{band.path}: {' and '.join(why)}, so its elevations may be in feet; if they are, add --feet",
        numbers={"drop": drop, "grid_unit_m": metres(crs)},
    )


def voids(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Holes inside the survey."""
    void, inside = sum(one.void for one in seen), sum(one.void + one.valid for one in seen)
    if void <= 0.05 * inside:
        return None
    worst = max(seen, key=lambda one: one.void)
    return Finding(
        kind="voids",
        severity="noted",
        sentence=(
            f"{band.path}: {share(void / inside)} of the pixels inside the survey hold no data{mostly(band, worst.window)}; "
            "nothing is mapped there, and heights beside a hole are less certain"
        ),
        place=worst.window,
        numbers={"share": void / inside},
    )


def zeros(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Zeros far below, or above, all other elevations."""
    found, pixels = sum(one.zeros for one in seen), sum(one.valid for one in seen)
    least = min(one.least for one in seen)
    if found <= 1e-4 * pixels or least < 20:
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


def level_ground(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Patches of one value: water, or filled holes."""
    found, patches = sum(one.level for one in seen), sum(one.patches for one in seen)
    if found <= 0.005 * patches:
        return None
    worst = max(seen, key=lambda one: one.level)
    return Finding(
        kind="level patches",
        severity="noted",
        sentence=(
            f"{band.path}: {share(found / patches)} of it is perfectly level{mostly(band, worst.window)}: water, or holes that "
            "were filled; neither is canopy or gap, so mask it"
        ),
        place=worst.window,
        numbers={"share": found / patches},
    )


def facets(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Patches that are tilted planes: holes filled by triangles."""
    found, patches = sum(one.plane for one in seen), sum(one.patches for one in seen)
    if found <= 0.01 * patches:
        return None
    worst = max(seen, key=lambda one: one.plane)
    return Finding(
        kind="facets",
        severity="noted",
        sentence=(
            f"{band.path}: {share(found / patches)} of it are smooth tilted planes{mostly(band, worst.window)}: holes filled by "
            "triangles, or a surface enlarged from coarser pixels; do not trust gaps there"
        ),
        place=worst.window,
        numbers={"share": found / patches},
    )


def coarse_steps(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Elevations rounded to whole metres or decimetres."""
    pixels = sum(one.valid for one in seen)
    for number, step in enumerate(STEPS):
        rounded = sum(one.on_step[number] for one in seen) / pixels
        if rounded >= 0.99 and pixels >= 1000 and band.unit_m == 1.0:
            return Finding(
                kind="rounded",
                severity="noted",
                sentence=(
                    f"{band.path}: its elevations are rounded to {step:g} m, so heights are no better than that; was it saved in "
                    "integers? Take the original if there is one"
                ),
                numbers={"step_m": step, "share": rounded},
            )
    return None


def stripes(band: Band, seen: Sequence[Sample]) -> Finding | None:
    """Steps along rows or columns, of a sensor or of the border of two surveys."""
    both: list[tuple[str, list[tuple[Sample, Jumps]]]] = [
        ("columns", [(one, one.columns) for one in seen if one.columns.places.size]),
        ("rows", [(one, one.rows) for one in seen if one.rows.places.size]),
    ]
    line, hit = max(both, key=lambda pair: sum(jumps.places.size for _, jumps in pair[1]))
    if not hit:
        return None
    worst, jumps = max(hit, key=lambda pair: float(np.abs(pair[1].sizes).max()))
    biggest = int(np.argmax(np.abs(jumps.sizes)))
    size = float(np.abs(jumps.sizes[biggest]))
    place = int(jumps.places[biggest]) + worst.window[1 if line == "columns" else 0]
    count = sum(found.places.size for _, found in hit)
    return Finding(
        kind="stripes",
        severity="noted",
        sentence=(
            f"{band.path}: steps between {line} in {len(hit)} of {len(seen)} windows looked at, the largest of {size:.2f} m after "
            f"{line[:-1]} {place}: stripes of a sensor, or surveys that do not fit (rows of trees along the "
            "grid and pixels enlarged from coarser ones look alike); do not trust gaps there at thresholds near the height of "
            "the steps"
        ),
        place=worst.window,
        numbers={"steps": count, "windows": len(hit), "size_m": size},
    )


def share(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"


def mostly(band: Band, window: Window) -> str:
    """Where it shows best, if the raster was not seen in one window."""
    row, column, rows, columns = window
    whole = (rows, columns) == (band.grid.rows, band.grid.columns)
    return "" if whole else f", most in rows {row} to {row + rows}, columns {column} to {column + columns}"
