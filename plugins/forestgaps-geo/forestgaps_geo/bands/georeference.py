"""Location of an open raster: a transform and a CRS, or control points that require a warp first."""

from __future__ import annotations

from math import hypot, isfinite, sqrt
from pathlib import Path
from typing import Any

from rasterio import Affine
from rasterio.crs import CRS
from rasterio.transform import from_gcps
from rasterio.warp import transform as transform_points

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.value_band import ValueBand
from forestgaps_geo.files.gdal import convert_gdal_errors
from forestgaps_geo.files.gdal_commands import choose_nodata, format_warp_command
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.grids.crs import describe_crs, drop_vertical_crs, find_utm_zone, get_meters_per_unit, is_same_crs
from forestgaps_geo.grids.grid import apply_transform

MAX_SIZE_DIFFERENCE = 1e-3  # relative difference of pixel sizes that are the same, one of them typed with few digits


def resolve_transform(path: Path, dataset: Any, pixel_size_m: float | None) -> Affine:
    """The transform of a raster as stored; a pixel size is needed without CRS, and must agree with the file otherwise.

    Raises:
        DataError: The raster is located by control points, has no known unit, or its pixels have another size.
    """
    crs, stored = dataset.crs or None, dataset.transform
    if pixel_size_m is not None and not (isfinite(pixel_size_m) and pixel_size_m > 0):
        raise DataError(f"{path}: a pixel size of {pixel_size_m:g} m was given; it is a length above 0. Give --pixel-size METERS")
    if stored == Affine.identity() and (located := explain_missing_transform(path, dataset)):
        raise DataError(f"{path}: {located}")
    if crs is None:
        if pixel_size_m is None:
            raise DataError(
                f"{path}: has no CRS, so the unit of its pixels is unknown. If its grid is in meters, give the pixel size, such as "
                "--pixel-size 1 (pixel_size_m = 1.0 in a site list)"
            )
        if stored == Affine.identity():
            return Affine(pixel_size_m, 0, 0, 0, -pixel_size_m, 0)
    if pixel_size_m is not None:
        in_degrees = crs is not None and crs.is_geographic
        side = hypot(stored.a, stored.d) * get_meters_per_unit(crs)
        if in_degrees or abs(side - pixel_size_m) > MAX_SIZE_DIFFERENCE * pixel_size_m:
            found = f"{side:g} degrees" if in_degrees else f"{side:g} m"
            why = f" by its CRS ({describe_crs(crs)})" if crs is not None else ""
            raise DataError(
                f"{path}: has pixels of {found}{why}, not of {pixel_size_m:g} m as stated. Leave --pixel-size out, or correct it"
            )
    return stored


def explain_missing_transform(path: Path, dataset: Any) -> str:
    """What locates a raster instead of a transform, and the command that applies it; '' where nothing does."""
    nodata = choose_nodata(dataset.dtypes[0], dataset.nodatavals[0])
    points, crs = dataset.gcps
    if points and crs:
        line = format_control_point_command(path, dataset, points, crs, nodata)
        return f"is located by {len(points)} ground control points. Warp it first: {line}"
    if dataset.rpcs is not None:
        target = find_utm_zone(dataset.rpcs.long_off, dataset.rpcs.lat_off)
        line = format_warp_command(path, "warped", "-rpc", target_crs=target, nodata=nodata)
        return f"is located by rational polynomial coefficients (RPC). Warp it first: {line}"
    if arrays := dataset.tags(ns="GEOLOCATION"):
        middle = find_array_center(path, arrays)
        line = format_warp_command(
            path, "warped", "-geoloc", target_crs=find_utm_zone(*middle) if middle else "EPSG:4326", nodata=nodata
        )
        return f"is located by geolocation arrays. Warp it first: {line}"
    return ""


def format_control_point_command(path: Path, dataset: Any, points: Any, crs: CRS, nodata: float) -> str:
    """The line that applies ground control points: onto the same pixels where they are straight, else onto pixels of their size."""
    crs = drop_vertical_crs(crs)
    target = crs
    if crs.is_geographic:
        longitude, latitude = (sum(values) / len(points) for values in zip(*((p.x, p.y) for p in points), strict=True))
        target = CRS.from_user_input(find_utm_zone(longitude, latitude))
    x, y = transform_points(crs, target, [p.x for p in points], [p.y for p in points])
    for point, east, north in zip(points, x, y, strict=True):
        point.x, point.y = east, north
    fitted = from_gcps(points)
    side = sqrt(abs(fitted.determinant))
    misfit = max(hypot(dx - p.x, dy - p.y) for p in points for dx, dy in [apply_transform(fitted, p.col, p.row)])
    if target == crs and misfit < 0.02 * side and max(abs(fitted.b), abs(fitted.d)) * max(dataset.shape) < 0.02 * side:
        left, top = apply_transform(fitted, 0, 0)
        right, bottom = apply_transform(fitted, dataset.width, dataset.height)
        extent = min(left, right), min(bottom, top), max(left, right), max(bottom, top)
        size = dataset.width, dataset.height
        return format_warp_command(
            path, "warped", "-order", "1", target_crs=format_crs(target), extent=extent, size=size, nodata=nodata
        )
    return format_warp_command(path, "warped", target_crs=format_crs(target), pixel_size=float(f"{side:.3g}"), nodata=nodata)


def format_straighten_command(source: ValueBand) -> str:
    """The line that brings a rotated raster to rows that run east."""
    stored = source.dataset.transform
    side = sqrt(abs(stored.determinant))
    return format_warp_command(source.path, "north_up", pixel_size=float(f"{side:.6g}"), **list_nodata_options(source))


def format_metric_command(source: ValueBand) -> str:
    """The line that brings a raster to pixels of about the same size in the UTM zone of its middle."""
    dataset = source.dataset
    crs, row, column = drop_vertical_crs(dataset.crs), dataset.height / 2, dataset.width / 2
    places = [apply_transform(dataset.transform, *place) for place in ((column, row), (column + 1, row), (column, row + 1))]
    (longitude, *_), (latitude, *_) = transform_points(crs, "EPSG:4326", *zip(*places, strict=True))
    target = find_utm_zone(longitude, latitude)
    (x0, x1, x2), (y0, y1, y2) = transform_points(crs, target, *zip(*places, strict=True))
    side = sqrt(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)))
    options: dict[str, Any] = {"source_crs": format_crs(crs), "target_crs": target, "pixel_size": float(f"{side:.3g}")}
    return format_warp_command(source.path, "meters", **options, **list_nodata_options(source))


def format_align_command(source: ValueBand, crs: CRS | None, transform: Affine, rows: int, columns: int) -> str:
    """The line that brings a raster to the pixels of another one, which is not rotated."""
    (x, y), (far_x, far_y) = apply_transform(transform, 0, 0), apply_transform(transform, columns, rows)
    options: dict[str, Any] = {"extent": (min(x, far_x), min(y, far_y), max(x, far_x), max(y, far_y)), "size": (columns, rows)}
    if crs is not None and source.dataset.crs is not None and not is_same_crs(crs, source.dataset.crs):
        options |= {
            "source_crs": format_crs(drop_vertical_crs(source.dataset.crs)),
            "target_crs": format_crs(drop_vertical_crs(crs)),
        }
    return format_warp_command(source.path, "aligned", **options, **list_nodata_options(source))


def list_nodata_options(source: ValueBand) -> dict[str, Any]:
    declared = source.dataset.nodatavals[source.number - 1]
    return {"nodata": choose_nodata(source.dtype.name, source.nodata), "undeclared": source.nodata is not None and declared is None}


def find_array_center(path: Path, arrays: Any) -> tuple[float, float] | None:
    """Mean longitude and latitude of geolocation arrays; None where they cannot be read here."""
    middle = []
    for axis in "XY":
        file = path.parent / str(arrays.get(f"{axis}_DATASET", ""))
        try:
            with open_raster(file) as dataset, convert_gdal_errors(file, "cannot be read"):
                middle.append(float(dataset.read(int(arrays.get(f"{axis}_BAND", 1))).mean()))
        except (DataError, ValueError):
            return None
    return middle[0], middle[1]


def format_crs(crs: CRS) -> str:
    """A CRS as GDAL's command lines take it."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())
