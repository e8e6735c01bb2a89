"""Units of height, in meters.

The user's word counts first (`--scale`, `--feet`), then the unit of the band, then the vertical unit of the CRS. A band's own scale
and offset are applied before that, so that "values" are what a GIS program shows.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from attrs import frozen
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_geo.files.virtual_rasters import sanitize_text

FOOT_M, SURVEY_FOOT_M = 0.3048, 1200 / 3937  # meters; the second is that of the United States, longer by 2 millionths
FEET_M = {
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), FOOT_M),
    **dict.fromkeys(
        ("us survey foot", "us-ft", "us-foot", "ftus", "us_survey_foot", "foot_us", "sfoot", "us survey feet"), SURVEY_FOOT_M
    ),
}
METERS_PER_UNIT = {
    **dict.fromkeys(("", "m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("dm", "decimetre", "decimeter", "decimetres", "decimeters"), 0.1),
    **dict.fromkeys(("cm", "centimetre", "centimeter", "centimetres", "centimeters"), 0.01),
    **dict.fromkeys(("mm", "millimetre", "millimeter", "millimetres", "millimeters"), 0.001),
    **FEET_M,
}


@frozen
class HeightUnit:
    """The unit of a raster's values.

    Attributes:
        meters: Meters in one unit.
        declared: The unit's name where only the file declares it and it is not the meter; '' otherwise.
    """

    meters: float = 1.0
    declared: str = ""


def resolve_height_unit(path: Path, dataset: Any, number: int = 1, *, feet: bool = False, scale: float | None = None) -> HeightUnit:
    """Return the unit of a band's values.

    Args:
        number: The band, from 1.
        feet: The user says that values are in feet: of 0.3048 m, or of the kind that the file itself names.
        scale: The user says how many meters one unit is.

    Raises:
        DataError: The unit is unknown, or statements contradict each other.
    """
    if scale is not None:
        if feet:
            raise DataError("--feet and --scale both state the unit of heights. Give one of them")
        if not (isfinite(scale) and scale > 0):
            raise DataError(f"--scale {scale:g}: the factor from values to meters is a number above 0. Give 0.1 for decimeters")
        return HeightUnit(scale)
    named = [unit for unit in ((dataset.units[number - 1] or "").strip().lower(), get_vertical_unit(dataset.crs or None)) if unit]
    for unit in named:
        if unit not in METERS_PER_UNIT:
            raise DataError(
                f"{path}: its heights are in {sanitize_text(unit)}. Add --scale FACTOR, the meters in one of these units"
            )
    if feet:
        if wrong := [unit for unit in named if unit not in FEET_M and METERS_PER_UNIT[unit] != 1.0]:
            raise DataError(
                f"{path}: its heights are in {sanitize_text(wrong[0])}, not in feet. Leave --feet out, or add --scale FACTOR"
            )
        return HeightUnit(next((FEET_M[unit] for unit in named if unit in FEET_M), FOOT_M))
    if len({METERS_PER_UNIT[unit] for unit in named}) > 1:
        raise DataError(
            f"{path}: its band declares heights in {sanitize_text(named[0])}, its vertical CRS in {sanitize_text(named[1])}. Add "
            "--scale 1 if its heights are in meters, or --feet"
        )
    meters = METERS_PER_UNIT[named[0]] if named else 1.0
    return HeightUnit(meters, named[0] if meters != 1.0 else "")


def get_vertical_unit(crs: CRS | None) -> str:
    """Return the unit of the heights of a compound or three-dimensional CRS, '' where it has none."""
    if crs is None:
        return ""
    described: dict[str, Any] = crs.to_dict(projjson=True)
    while described.get("type") == "BoundCRS":
        described = described["source_crs"]
    vertical = [part for part in described.get("components", []) if part["type"] == "VerticalCRS"]
    axes = (vertical[0] if vertical else described).get("coordinate_system", {}).get("axis", [])
    if not vertical and len(axes) < 3:
        return ""
    unit: Any = axes[-1].get("unit", "")
    return str(unit["name"] if isinstance(unit, dict) else unit).lower()
