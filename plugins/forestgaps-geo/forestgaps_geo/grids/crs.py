"""Coordinate reference systems: names, units, and whether two are the same."""

from __future__ import annotations

from math import floor
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError

from forestgaps_core.errors import DataError, shorten
from forestgaps_geo.grids.ground_scale import get_ground_scale


def describe_crs(crs: CRS | None) -> str:
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_dict(projjson=True).get("name", "a CRS of its own"))


def drop_vertical_crs(crs: CRS) -> CRS:
    """The CRS that says where pixels lie: without a vertical part or axis, and without a transformation to another datum."""
    described: dict[str, Any] = crs.to_dict(projjson=True)
    before = described
    while described.get("type") in ("CompoundCRS", "BoundCRS"):
        described = described["components"][0] if described["type"] == "CompoundCRS" else described["source_crs"]
    described = drop_height_axis(described)
    return crs if described is before else CRS.from_dict(described)


def drop_height_axis(described: dict[str, Any]) -> dict[str, Any]:
    """A CRS as PROJJSON without its third axis, that of its base included."""
    found = described
    if isinstance(base := described.get("base_crs"), dict) and (flat := drop_height_axis(base)) is not base:
        found = {**found, "base_crs": flat}
    system = described.get("coordinate_system", {})
    if len(system.get("axis", ())) == 3 and described.get("type") in ("GeographicCRS", "ProjectedCRS"):
        found = {**found, "coordinate_system": {**system, "axis": system["axis"][:2]}}
    return {key: value for key, value in found.items() if key not in ("id", "ids")} if found is not described else described


def is_same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether coordinates of both mean the same places, heights apart."""
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    flat, beside = drop_vertical_crs(one), drop_vertical_crs(other)
    return bool(flat == beside or ((code := flat.to_epsg()) is not None and code == beside.to_epsg()))


def get_meters_per_unit(crs: CRS | None) -> float:
    """Meters in one unit of the CRS; 1 where it has no unit of length."""
    return get_linear_unit(crs)[1]


def measure_unit_on_ground(crs: CRS | None, x: float, y: float) -> float:
    """Meters on the ground in one unit of the CRS at a place."""
    return get_meters_per_unit(crs) * get_ground_scale(crs, x, y, get_meters_per_unit(crs)).mean


def get_unit_name(crs: CRS | None) -> str:
    """What the CRS counts in, 'meter' where it does not say."""
    return get_linear_unit(crs)[0]


def get_linear_unit(crs: CRS | None) -> tuple[str, float]:
    """The unit of length that the CRS counts in, by name and in meters; of an engineering CRS, by its first axis."""
    if crs is None:
        return "metre", 1.0
    try:
        named, factor = crs.linear_units_factor
        return str(named), float(factor)
    except CRSError:  # not a projected CRS
        axes = drop_vertical_crs(crs).to_dict(projjson=True).get("coordinate_system", {}).get("axis", [])
        found: Any = axes[0].get("unit") if axes else None
        if isinstance(found, dict) and found.get("type") == "LinearUnit":
            return str(found["name"]), float(found["conversion_factor"])
        return "metre", 1.0


def find_utm_zone(longitude: float, latitude: float) -> str:
    """The UTM zone of a place, as EPSG code."""
    zone = min(max(floor((longitude + 180) / 6) + 1, 1), 60)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def explain_geocentric(crs: CRS | None) -> str | None:
    """Why rows and columns in this CRS are no place on a map: a geocentric CRS counts from the middle of the Earth."""
    if crs is None or crs.is_geographic or crs.is_projected:
        return None
    if drop_vertical_crs(crs).to_dict(projjson=True).get("type") != "GeodeticCRS":
        return None
    return (
        f"its CRS ({describe_crs(crs)}) is geocentric, which places no raster on the ground. Declare the CRS that it was made "
        "in, such as gdal_translate -a_srs EPSG:N, or none (-a_srs none) and give --pixel-size METERS"
    )


def parse_crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise DataError(f"{shorten(text)!r} names no CRS; say it as EPSG:32610, for instance") from error
