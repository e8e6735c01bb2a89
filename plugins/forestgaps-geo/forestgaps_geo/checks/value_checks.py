"""Detect gap maps, masks and probabilities where heights are expected."""

from __future__ import annotations

from collections.abc import Sequence

from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.findings import Finding, format_fraction, make_error, make_note
from forestgaps_geo.checks.window_statistics import WindowStatistics

MIN_PIXELS = 16  # fewer are not checked
MIN_FULL_FRACTION = 0.005  # of the pixels; heights do not share their highest value


def check_binary(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Only 0 and 1, and 255: a gap map or a mask."""
    if any(one.distinct is None for one in samples):
        return None
    values = {value / band.unit_m for one in samples for value in one.distinct or ()}
    if not values <= {0.0, 1.0, 255.0} or 1.0 not in values or sum(one.valid for one in samples) < MIN_PIXELS:
        return None
    held = " and ".join(f"{value:g}" for value in sorted(values))
    if kind == "chm":
        sentence = (
            f"{band.path}: holds only {held}, and is read as canopy heights in meters. If it is a gap map (1 in gaps), give it to "
            "`forestgaps gaps` without -t, and no gap map where a CHM is asked for"
        )
        return make_note("zeros and ones", sentence)
    sentence = f"{band.path}: holds only {held}, so this is a gap map or a mask, not elevations. Give the raster of elevations"
    return make_error("zeros and ones", sentence)


def check_fractions(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Nothing below 0 or above 1, and fractions between: probabilities or an index."""
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    if band.unit_m != 1.0 or low < 0 or high > 1 or high - low < 0.5 or not any(one.fractional for one in samples):
        return None
    if "probability" not in band.source.description and kind == "chm":
        sentence = f"{band.path}: no height is above {high:.3g} m. Where these are probabilities, an index or a share, give the CHM"
        return make_note("fractions", sentence, values={"low": low, "high": high})
    sentence = (
        f"{band.path}: all values lie between {low:.3g} and {high:.3g}, so these look like probabilities, an index or a hillshade, "
        f"not like {'canopy heights' if kind == 'chm' else 'elevations'}. Give the raster of heights"
    )
    return make_error("fractions", sentence, values={"low": low, "high": high})


def check_percent(band: Band, kind: str, samples: Sequence[WindowStatistics]) -> Finding | None:
    """Nothing below 0 or above 100, and 100 itself in many pixels: a share in percent."""
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    full, pixels = sum(one.high_count for one in samples if one.high == high), sum(one.valid for one in samples)
    if band.unit_m != 1.0 or low < 0 or abs(high - 100) > 1e-3 or full < MIN_FULL_FRACTION * pixels or full == pixels:
        return None
    what = "canopy heights" if kind == "chm" else "elevations"
    sentence = (
        f"{band.path}: all values lie between {low:.3g} and 100, and {format_fraction(full / pixels)} of it is exactly 100, as "
        f"in canopy cover or another share in percent. If it is one, give the raster of {what} instead"
    )
    return make_note("percent", sentence, values={"low": low, "fraction": full / pixels})
