"""How far the blocks of different sites lie apart on the ground.

Within a site the split keeps the buffer distance by itself. Sites may still overlap or neighbor each other, or be one raster
under two names, and then a network would be tested on ground it learned from.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import cos, hypot, radians

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform, transform_bounds

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.crs import is_same_crs
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.prepared.index import Index, StoredSite

POINTS_PER_EDGE = 32  # points on each edge of a block, straight in its own CRS and bent in another
METERS_PER_DEGREE = 110_000.0  # meters in one of latitude, at least

Points = NDArray[np.float64]


@frozen(eq=False)
class LocatedBlock:
    """A block of a site, on the ground.

    Attributes:
        frame: What its coordinates mean: its CRS, or, without one, the file it was made from; None: unknown.
        box: West, south, east, north in degrees, where it has a CRS.
    """

    site: str
    part: str
    grid: Grid
    frame: str | None
    box: tuple[float, float, float, float] | None


def check_buffer_distance(index: Index) -> None:
    """No two parts may come nearer than the buffer distance, over all sites.

    Raises:
        DataError: They do; all pairs of sites are named, with their distance.
    """
    nearest: dict[tuple[str, str], tuple[float, str, str]] = {}
    for one, other in combinations([block for site in index.sites for block in locate_blocks(site)], 2):
        if one.site == other.site or one.part == other.part:
            continue
        found = measure_distance(one, other, reach=index.buffer_m)
        # Half a millimeter: coordinates are rounded when they are written.
        if found is not None and (found < 0 or found < index.buffer_m - 5e-4):
            worst = nearest.get((one.site, other.site))
            if worst is None or found < worst[0]:
                nearest[one.site, other.site] = found, one.part, other.part
    if nearest:
        raise DataError(
            "\n".join(format_too_close(site, beside, *worst, index.buffer_m) for (site, beside), worst in nearest.items())
        )


def format_too_close(site: str, other: str, found: float, part: str, other_part: str, buffer_m: float) -> str:
    would = "give both the same part, or cut one"
    if found < 0:
        return f"sites {site!r} and {other!r} overlap, where the one is for {part} and the other for {other_part}; {would}"
    return (
        f"sites {site!r} and {other!r} are {found:.1f} m apart, where the one is for {part} and the other for {other_part}: "
        f"nearer than the buffer distance of {buffer_m:g} m, within which canopy is alike and scores flatter; "
        f"{would} so that room is left "
        f"(--buffer {int(found)} would let them pass)"
    )


def locate_blocks(site: StoredSite) -> Iterator[LocatedBlock]:
    grid = Grid(CRS.from_wkt(site.crs) if site.crs else None, Affine(*site.transform), site.rows, site.columns)
    frame = site.crs or next((source.sha256 for source in site.sources if source.layer == "dsm"), None)
    for part, blocks in site.blocks.items():
        for block in blocks:
            yield LocatedBlock(site.name, part, crop_grid(grid, block), frame, compute_degree_bounds(crop_grid(grid, block)))


def crop_grid(grid: Grid, block: Block) -> Grid:
    return grid.window(block.row, block.column, block.rows, block.columns)


def compute_degree_bounds(grid: Grid) -> tuple[float, float, float, float] | None:
    if grid.crs is None:
        return None
    try:
        west, south, east, north = transform_bounds(grid.crs, "EPSG:4326", *grid.bounds)
    except RasterioError:  # a CRS of an engineer's own, which lies nowhere on Earth
        return None
    return west, south, east, north


def measure_distance(one: LocatedBlock, other: LocatedBlock, *, reach: float) -> float | None:
    """Meters between two blocks, 0 where they touch, -1 where they overlap; None where it is over `reach` or cannot be computed."""
    if one.grid.crs is None or other.grid.crs is None:
        return (
            measure_box_distance(one.grid.bounds, other.grid.bounds, 1.0)
            if one.frame == other.frame and one.frame is not None
            else None
        )
    if one.box is not None and other.box is not None and not may_be_close(one.box, other.box, reach):
        return None
    if one.frame == other.frame or is_same_crs(one.grid.crs, other.grid.crs):
        return measure_box_distance(one.grid.bounds, other.grid.bounds, one.grid.unit_m)
    return measure_ground_distance(one.grid, other.grid) if one.box is not None and other.box is not None else None


def measure_box_distance(one: tuple[float, float, float, float], other: tuple[float, float, float, float], unit_m: float) -> float:
    """The same for two upright rectangles of one CRS, given by left, bottom, right, top."""
    aside = max(one[0], other[0]) - min(one[2], other[2])
    above = max(one[1], other[1]) - min(one[3], other[3])
    rounding = 1e-3 * min(one[2] - one[0], other[2] - other[0], one[3] - one[1], other[3] - other[1])
    if aside < -rounding and above < -rounding:
        return -1.0
    return hypot(max(aside, 0.0), max(above, 0.0)) * unit_m


def may_be_close(one: tuple[float, float, float, float], other: tuple[float, float, float, float], reach: float) -> bool:
    """Whether two boxes in degrees may come within `reach` meters, computed quickly; never wrongly False."""
    up = (reach + 100) / METERS_PER_DEGREE
    highest = min(max(abs(value) for value in (one[1], one[3], other[1], other[3])), 89.0)
    aside = up / cos(radians(highest))
    beside = max(one[0], other[0]) - min(one[2], other[2])
    around = min(beside, 360 - abs(beside)) if beside > 180 else beside  # the two sides of the date line
    return around <= aside and max(one[1], other[1]) - min(one[3], other[3]) <= up


def measure_ground_distance(one: Grid, other: Grid) -> float:
    """Meters between two blocks of different CRS, in the azimuthal equidistant projection around the first."""
    (x,), (y,) = transform(one.crs, "EPSG:4326", *([value] for value in compute_center(one)))
    here = CRS.from_proj4(f"+proj=aeqd +lat_0={y:.8f} +lon_0={x:.8f} +datum=WGS84 +units=m")
    first, second = project_outline(one, here), project_outline(other, here)
    if contains_any(first, second) or contains_any(second, first):
        return -1.0
    return min(measure_ring_distance(first, second), measure_ring_distance(second, first))


def compute_center(grid: Grid) -> tuple[float, float]:
    left, bottom, right, top = grid.bounds
    return (left + right) / 2, (bottom + top) / 2


def project_outline(grid: Grid, crs: CRS) -> Points:
    """(n, 2): the border of a grid in another CRS, closed."""
    left, bottom, right, top = grid.bounds
    edge = np.linspace(0, 1, POINTS_PER_EDGE, endpoint=False)
    x = np.concatenate([left + (right - left) * edge, 0 * edge + right, right - (right - left) * edge, 0 * edge + left, [left]])
    y = np.concatenate([0 * edge + bottom, bottom + (top - bottom) * edge, 0 * edge + top, top - (top - bottom) * edge, [bottom]])
    return np.array(transform(grid.crs, crs, x, y)).T


def contains_any(ring: Points, points: Points) -> bool:
    """Whether any of the points lies inside the closed ring: a ray to the right crosses it an odd number of times."""
    (x1, y1), (x2, y2) = ring[:-1].T[:, :, None], ring[1:].T[:, :, None]
    x, y = points.T[:, None, :]
    crosses = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return bool(((crosses & right).sum(0) % 2 == 1).any())


def measure_ring_distance(ring: Points, points: Points) -> float:
    """From the points to the nearest edge of the ring."""
    start, along = ring[:-1, None, :], np.diff(ring, axis=0)[:, None, :]
    share = ((points[None] - start) * along).sum(2) / np.maximum((along**2).sum(2), 1e-12)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return float(np.sqrt(((points[None] - nearest) ** 2).sum(2)).min())
