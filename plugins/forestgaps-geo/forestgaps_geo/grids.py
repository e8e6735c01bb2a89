"""Pixel grids: where a raster lies, whether meters can be read off it, how two of them fit."""

from __future__ import annotations

from math import floor, isfinite, sqrt
from typing import Any

from attrs import evolve, frozen
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from forestgaps_core.errors import DataError, shorten
from forestgaps_geo.ground_scale import GroundScale, ground_scale
from forestgaps_geo.virtual_rasters import plain

COARSER = 1.5  # times; pixels that differ by less keep their size where they are brought to another grid
NEAR = 0.02  # pixels: grids that fit this well are the same grid, written with rounded numbers


@frozen
class Grid:
    """Rows and columns on the ground, in the unit of the CRS. `crs` is None for a site without one, whose unit is the meter."""

    crs: CRS | None
    transform: Affine
    rows: int
    columns: int

    @property
    def resolution(self) -> float:
        """Pixel size in meters on the ground, also where the CRS counts in feet or is not true to length here.

        Degrees of a geographic CRS are left as they are.
        """
        return abs(float(self.transform.a)) * self.unit_m

    @property
    def nominal_resolution(self) -> float:
        """Pixel size in meters as the CRS counts them."""
        return abs(float(self.transform.a)) * meters(self.crs)

    @property
    def unit_m(self) -> float:
        """Meters on the ground in one unit of the CRS, at the middle of the grid."""
        return meters(self.crs) * self.ground_scale.mean

    @property
    def ground_scale(self) -> GroundScale:
        return ground_scale(self.crs, *at(self.transform, self.columns / 2, self.rows / 2), meters(self.crs))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the four corners."""
        corners = [at(self.transform, x, y) for x in (0, self.columns) for y in (0, self.rows)]
        x, y = zip(*corners, strict=True)
        return min(x), min(y), max(x), max(y)

    def window(self, row: int, column: int, rows: int, columns: int) -> Grid:
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        x, y = at(self.transform, column, row)
        return evolve(self, transform=Affine(a, b, x, d, e, y), rows=rows, columns=columns)

    def __str__(self) -> str:
        left, bottom, right, top = self.bounds
        pixels = f"{self.columns} x {self.rows} pixels of {self.resolution:g}"
        return f"{pixels}, {name(self.crs)}, x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def at(transform: Affine, x: float, y: float) -> tuple[float, float]:
    """Where a point goes. (affine's own operator for this changes its name between versions.)"""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def name(crs: CRS | None) -> str:
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_dict(projjson=True).get("name", "a CRS of its own"))


def horizontal(crs: CRS) -> CRS:
    """The CRS that says where pixels lie: without a vertical part or axis, and without a transformation to another datum."""
    described: dict[str, Any] = crs.to_dict(projjson=True)
    before = described
    while described.get("type") in ("CompoundCRS", "BoundCRS"):
        described = described["components"][0] if described["type"] == "CompoundCRS" else described["source_crs"]
    described = without_heights(described)
    return crs if described is before else CRS.from_dict(described)


def without_heights(described: dict[str, Any]) -> dict[str, Any]:
    """A CRS as PROJJSON without its third axis, that of its base included."""
    found = described
    if isinstance(base := described.get("base_crs"), dict) and (flat := without_heights(base)) is not base:
        found = {**found, "base_crs": flat}
    system = described.get("coordinate_system", {})
    if len(system.get("axis", ())) == 3 and described.get("type") in ("GeographicCRS", "ProjectedCRS"):
        found = {**found, "coordinate_system": {**system, "axis": system["axis"][:2]}}
    return {key: value for key, value in found.items() if key not in ("id", "ids")} if found is not described else described


def same_place(one: CRS | None, other: CRS | None) -> bool:
    """Whether coordinates of both mean the same places, heights apart."""
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    flat, beside = horizontal(one), horizontal(other)
    return bool(flat == beside or ((code := flat.to_epsg()) is not None and code == beside.to_epsg()))


def meters(crs: CRS | None) -> float:
    """Meters in one unit of the CRS; 1 where it has no unit of length."""
    return linear_unit(crs)[1]


def meters_on_ground(crs: CRS | None, x: float, y: float) -> float:
    """Meters on the ground in one unit of the CRS at a place."""
    return meters(crs) * ground_scale(crs, x, y, meters(crs)).mean


def unit(crs: CRS | None) -> str:
    """What the CRS counts in, 'meter' where it does not say."""
    return linear_unit(crs)[0]


def linear_unit(crs: CRS | None) -> tuple[str, float]:
    """The unit of length that the CRS counts in, by name and in meters; of an engineering CRS, by its first axis."""
    if crs is None:
        return "metre", 1.0
    try:
        named, factor = crs.linear_units_factor
        return str(named), float(factor)
    except CRSError:  # not a projected CRS
        axes = horizontal(crs).to_dict(projjson=True).get("coordinate_system", {}).get("axis", [])
        found: Any = axes[0].get("unit") if axes else None
        if isinstance(found, dict) and found.get("type") == "LinearUnit":
            return str(found["name"]), float(found["conversion_factor"])
        return "metre", 1.0


def why_not_metric(grid: Grid) -> str | None:
    """Why pixels of this grid are not squares in meters on the ground, as far as its CRS is the reason."""
    if grid.crs is None:
        return None
    if grid.crs.is_geographic:
        return f"its grid is in degrees ({name(grid.crs)}), not in meters"
    if grid.ground_scale.keeps_squares:
        return None
    wide, high = grid.nominal_resolution * grid.ground_scale.x, grid.nominal_resolution * grid.ground_scale.y
    return f"its pixels are {wide:.3g} x {high:.3g} m on the ground ({name(grid.crs)} stretches them here), not square"


def crooked(transform: Affine) -> str | None:
    """Why rows and columns of this transform do not run east and south in square pixels."""
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e) or transform.a == 0:
        return "its grid is rotated"
    if transform.a < 0 or transform.e > 0:
        return "its rows or columns are mirrored (they must run south and east)"
    if abs(transform.a + transform.e) > 1e-4 * transform.a:
        return f"its pixels are not square ({transform.a:g} x {-transform.e:g})"
    return None


def bounds_in(grid: Grid, crs: CRS | str) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a grid in another CRS.

    Raises:
        DataError: It does not lie where that CRS is defined, or there is no way from one to the other.
    """
    crs_name = name(crs) if isinstance(crs, CRS) else crs
    try:
        left, bottom, right, top = transform_bounds(grid.crs, crs, *grid.bounds)
    except Exception as error:  # some of GDAL's errors are of no public class
        raise DataError(f"a grid ({grid}) cannot be brought to {crs_name} ({plain(error)})") from error
    if not all(isfinite(value) for value in (left, bottom, right, top)):
        raise DataError(f"a grid ({grid}) does not lie where {crs_name} is defined")
    return left, bottom, right, top


def metric_crs(grid: Grid) -> str:
    """The UTM zone of the grid's middle, to propose."""
    left, bottom, right, top = bounds_in(grid, "EPSG:4326")
    return utm_zone((left + right) / 2, (bottom + top) / 2)


def utm_zone(longitude: float, latitude: float) -> str:
    """The UTM zone of a place, as EPSG code."""
    zone = min(max(floor((longitude + 180) / 6) + 1, 1), 60)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def proposed_size(grid: Grid, asked_m: float | None = None) -> str:
    """The side of a pixel of the new grid, as words of a command line: what was asked, or about that of the old pixels."""
    if asked_m is not None:
        return f"{asked_m:g}"
    if grid.crs is None or not grid.crs.is_geographic:
        return f"{sqrt(abs(grid.transform.determinant)) * grid.unit_m:.2g}"
    left, bottom, right, top = bounds_in(grid, metric_crs(grid))
    return f"{sqrt((right - left) * (top - bottom) / (grid.rows * grid.columns)):.2g}"


def why_nowhere(crs: CRS | None) -> str | None:
    """Why rows and columns in this CRS are no place on a map: a geocentric CRS counts from the middle of the Earth."""
    if crs is None or crs.is_geographic or crs.is_projected:
        return None
    if horizontal(crs).to_dict(projjson=True).get("type") != "GeodeticCRS":
        return None
    return (
        f"its CRS ({name(crs)}) is geocentric, which places no raster on the ground. Declare the CRS that it was made in, such as "
        "gdal_translate -a_srs EPSG:N, or none (-a_srs none) and give --pixel-size METERS"
    )


def target_grid(source: Grid, place: str, *, resolution_m: float | None, crs: CRS | None, resample: bool) -> Grid:
    """The grid to work on: the source's own, or the one asked.

    Args:
        place: What the source is called in messages.
        resolution_m: Pixel size asked, meters; None: the source's.
        crs: CRS asked; None: the source's.
        resample: Whether pixels may be made anew at all.

    Raises:
        DataError: It takes resampling that was not asked, or finer pixels than there are.
    """
    moved = crs is not None and not same_place(source.crs, crs)
    if moved and source.crs is None:
        raise DataError(f"{place}: has no CRS, so it cannot be brought to {name(crs)}")
    if fault := why_nowhere(source.crs):
        raise DataError(f"{place}: {fault}")
    if not moved and (reason := why_not_metric(source)):
        ask = f"--resample --crs {metric_crs(source)} --resolution {proposed_size(source, resolution_m)}"
        raise DataError(f"{place}: {reason}; {ask} brings it to a grid in meters")
    fault = crooked(source.transform)
    if not (moved or fault):
        wanted = source.resolution if resolution_m is None else resolution_m
        ratio = wanted / source.resolution
        if abs(ratio - 1) < 1e-4:
            return source
        change = f"has pixels of {source.resolution:g} m, not of {wanted:g} m"
        if ratio * COARSER <= 1 or (ratio < 1 and not resample):
            raise DataError(f"{place}: {change}; finer pixels than there are would be invented")
        if not resample:
            raise DataError(f"{place}: {change}. Add --resample, or give --resolution {source.resolution:g}")
        side = wanted / source.unit_m
        transform = Affine(side, 0, source.transform.c, 0, -side, source.transform.f)
        fitting = Grid(source.crs, transform, floor(source.rows / ratio + 1e-6), floor(source.columns / ratio + 1e-6))
        if not (fitting.rows and fitting.columns):
            raise DataError(f"{place}: {source.columns} x {source.rows} pixels are less than one of {wanted:g} m")
        return fitting
    if not resample:
        ask = f"--resample --resolution {proposed_size(source, resolution_m)}"
        raise DataError(f"{place}: {fault or f'is in {name(source.crs)}, not in {name(crs)}'}; add {ask} to make a new grid")
    if resolution_m is None:
        ask = f"--resolution {proposed_size(source)}"
        raise DataError(f"{place}: {fault or 'changes its CRS'}, so say the pixel size of the new grid, such as {ask}")
    left, bottom, right, top = source.bounds
    if moved:
        left, bottom, right, top = bounds_in(source, crs)
    place_on_grid = (left + right) / 2, (bottom + top) / 2
    side = resolution_m / (meters_on_ground(crs, *place_on_grid) if moved else source.unit_m)
    column, row = floor(left / side), -floor(-top / side)
    columns, rows = -floor(-right / side) - column, row - floor(bottom / side)
    transform = Affine(side, 0, column * side, 0, -side, row * side)
    return Grid(crs if moved else source.crs, transform, rows, columns)


def blocks_of(source: Grid, target: Grid) -> tuple[int, int, int] | None:
    """(row, column, k): each target pixel is exactly k x k pixels of the source, the first of them there; None: it is not so."""
    if not same_place(source.crs, target.crs):
        return None
    inverse = ~source.transform
    ends = ((0, 0), (target.columns, target.rows), (0, target.rows))
    corner, far, low = (at(inverse, *at(target.transform, x, y)) for x, y in ends)
    k = round((far[0] - corner[0]) / target.columns)
    column, row = round(corner[0]), round(corner[1])
    right, bottom = column + k * target.columns, row + k * target.rows
    misfit = max(abs(a - b) for a, b in zip((*corner, *far, *low), (column, row, right, bottom, column, bottom), strict=True))
    inside = row >= 0 and column >= 0 and bottom <= source.rows and right <= source.columns
    return (row, column, k) if k >= 1 and inside and misfit < NEAR else None


def common(target: Grid, other: Grid) -> Grid | None:
    """The whole target pixels that lie on `other` too; None where the two do not overlap. Both in one CRS."""
    left, bottom, right, top = other.bounds
    if crooked(target.transform):  # cannot be cropped by bounds; pixels without data do it
        west, south, east, north = target.bounds
        return target if left < east and west < right and bottom < north and south < top else None
    inverse = ~target.transform
    (first_column, first_row), (last_column, last_row) = at(inverse, left, top), at(inverse, right, bottom)
    row, column = max(-floor(-(first_row - NEAR)), 0), max(-floor(-(first_column - NEAR)), 0)
    rows, columns = min(floor(last_row + NEAR), target.rows) - row, min(floor(last_column + NEAR), target.columns) - column
    return target.window(row, column, rows, columns) if rows > 0 and columns > 0 else None


def parsed_crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise DataError(f"{shorten(text)!r} names no CRS; say it as EPSG:32610, for instance") from error
