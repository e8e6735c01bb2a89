"""The length on the ground of one unit of a CRS.

No projection keeps lengths everywhere. Web Mercator enlarges them by 1 / cos(latitude), a far-off UTM zone by some per cent. The
scale is measured at the middle of a raster with the metric of the WGS 84 ellipsoid: ds^2 = (M dphi)^2 + (N cos(phi) dlambda)^2.

Source: Snyder 1987, Map Projections: A Working Manual, USGS Professional Paper 1395, eq. 4-18 and 4-20.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, hypot, isfinite, radians, sin, sqrt

from attrs import frozen
from rasterio.crs import CRS
from rasterio.warp import transform

MAX_DEVIATION = 0.01  # of a length; below, lengths on the map are taken for those on the ground, as is usual in a UTM zone
SEMI_MAJOR_M, ECCENTRICITY_2 = 6_378_137.0, 0.0066943799901413165  # WGS 84
MAX_STRETCH = 0.05  # of a side; beyond, crowns look squeezed to a network
BASELINE_M = 50.0  # half the length that is measured


@frozen
class GroundScale:
    """Meters on the ground in a meter of the CRS, along its x and its y axis."""

    x: float = 1.0
    y: float = 1.0

    @property
    def mean(self) -> float:
        """The side of the square that a square meter of the CRS is as large as on the ground."""
        return sqrt(self.x * self.y)

    @property
    def keeps_squares(self) -> bool:
        """Whether a square pixel is about as wide as high on the ground."""
        return abs(self.x / self.y - 1) <= MAX_STRETCH


def get_ground_scale(crs: CRS | None, x: float, y: float, unit_m: float) -> GroundScale:
    """Return the scale at a place; exactly 1 where it deviates by at most `MAX_DEVIATION`, or cannot be known.

    Args:
        x: Easting of the place, in units of the CRS.
        y: Northing of the place, in units of the CRS.
        unit_m: Meters in one unit of the CRS, by its definition.
    """
    if crs is None or crs.is_geographic:
        return GroundScale()
    found = measure_ground_scale(crs.to_wkt(), x, y, unit_m)
    if max(abs(found.x - 1), abs(found.y - 1)) <= MAX_DEVIATION:
        return GroundScale()
    return GroundScale(found.mean, found.mean) if abs(found.x / found.y - 1) <= MAX_DEVIATION else found


@lru_cache(maxsize=1024)
def measure_ground_scale(wkt: str, x: float, y: float, unit_m: float) -> GroundScale:
    """Return the scale at a place as it is; 1 where the place does not lie on Earth in that CRS."""
    step = BASELINE_M / unit_m
    xs, ys = [x - step, x + step, x, x], [y, y, y - step, y + step]
    try:
        longitude, latitude = transform(CRS.from_wkt(wkt), CRS.from_epsg(4326), xs, ys)
    except Exception:  # a local or engineering CRS; some of GDAL's errors are of no public class
        return GroundScale()
    if not all(isfinite(value) for value in (*longitude, *latitude)):
        return GroundScale()
    along = [compute_distance_m(longitude[i], latitude[i], longitude[i + 1], latitude[i + 1]) / (2 * BASELINE_M) for i in (0, 2)]
    return GroundScale(*along) if min(along) > 0 else GroundScale()


def compute_distance_m(longitude: float, latitude: float, other_longitude: float, other_latitude: float) -> float:
    """Return the length of a short line on the ellipsoid, degrees to meters."""
    phi = radians((latitude + other_latitude) / 2)
    rest = 1 - ECCENTRICITY_2 * sin(phi) ** 2
    meridian, normal = SEMI_MAJOR_M * (1 - ECCENTRICITY_2) / rest**1.5, SEMI_MAJOR_M / sqrt(rest)
    east = (other_longitude - longitude + 180) % 360 - 180
    return hypot(meridian * radians(other_latitude - latitude), normal * cos(phi) * radians(east))
