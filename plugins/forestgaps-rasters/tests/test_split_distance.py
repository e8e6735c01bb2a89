from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.preparation.split_distance import (
    check_buffer_distance,
    contains_any,
    may_be_close,
    measure_box_distance,
    measure_ground_distance,
    measure_ring_distance,
    project_outline,
)
from forestgaps_rasters.prepared.blocks import SPLITS, Block
from forestgaps_rasters.prepared.index import Index, SourceFile, StoredSite

UTM = CRS.from_epsg(32610)


def stored(
    name: str, x: float, y: float, part: str, *, crs: CRS | None = UTM, side: float = 1.0, size: int = 100, sha256: str = "a"
) -> StoredSite:
    """A site of one block, its north-west corner at (x, y)."""
    return StoredSite(
        name=name,
        crs=crs.to_wkt() if crs else None,
        transform=(side, 0, x, 0, -side, y),
        rows=size,
        columns=size,
        valid_fraction=1.0,
        blocks=dict.fromkeys(SPLITS, ()) | {part: (Block(0, 0, size, size),)},
        sources=(SourceFile(layer="dsm", path=f"{name}.tif", bytes=1, sha256=sha256),),
    )


def check(*sites: StoredSite, buffer_m: float = 20.0) -> None:
    check_buffer_distance(Index(format=1, made_by="", resolution_m=1.0, tile=64, buffer_m=buffer_m, sites=sites))


HERE = stored("here", 500_000, 5_200_000, "train")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_neighboring_sites_of_two_parts_are_refused_with_their_distance(part: str) -> None:
    with pytest.raises(DataError, match=rf"'here' and 'there' are 12.0 m apart, .*for train and .*for {part}.*20 m.*--buffer 12 "):
        check(HERE, stored("there", 500_112, 5_200_000, part))
    check(HERE, stored("there", 500_112, 5_200_000, part), buffer_m=12)
    check(HERE, stored("there", 500_120, 5_200_000, part))
    check(HERE, stored("there", 500_112, 5_200_000, "train"))


def test_the_distance_between_corners_is_the_straight_one() -> None:
    check(HERE, stored("there", 500_115, 5_199_885, "test"))
    with pytest.raises(DataError, match=r"are 19.8 m apart"):
        check(HERE, stored("there", 500_114, 5_199_886, "test"))


def test_validation_and_test_keep_apart_too() -> None:
    with pytest.raises(DataError, match="for validation and the other for test"):
        check(stored("a", 0, 0, "validation"), stored("b", 100, 0, "test"))


@pytest.mark.parametrize("buffer_m", [0.0, 20.0])
def test_sites_that_overlap_are_refused_whatever_the_buffer(buffer_m: float) -> None:
    with pytest.raises(DataError, match="'here' and 'there' overlap, where the one is for train and the other for test"):
        check(HERE, stored("there", 500_050, 5_200_000, "test"), buffer_m=buffer_m)


def test_sites_that_touch_are_fine_without_a_buffer() -> None:
    check(HERE, stored("there", 500_100, 5_200_000, "test"), buffer_m=0)


def test_every_pair_of_sites_is_told_once() -> None:
    with pytest.raises(DataError) as told:
        check(HERE, stored("b", 500_101, 5_200_000, "test"), stored("c", 499_890, 5_200_000, "test"))
    assert [line[:30] for line in str(told.value).splitlines()] == [
        "sites 'here' and 'b' are 1.0 m",
        "sites 'here' and 'c' are 10.0 ",
    ]


def test_feet_are_told_in_meters() -> None:
    feet = CRS.from_epsg(2285)
    here = stored("here", 1_200_000, 200_000, "train", crs=feet, side=3.0)
    with pytest.raises(DataError, match=r"are 15.2 m apart"):
        check(here, stored("there", 1_200_350, 200_000, "test", crs=feet, side=3.0))
    check(here, stored("there", 1_200_366, 200_000, "test", crs=feet, side=3.0))


@pytest.mark.parametrize("crs", [CRS.from_epsg(32611), CRS.from_epsg(3857), CRS.from_epsg(2285), CRS.from_epsg(3005)])
@pytest.mark.parametrize("east", [50, 108, 115, 140, 100_000])
def test_sites_of_different_crs_are_measured_on_the_ground(crs: CRS, east: float) -> None:
    shapely = pytest.importorskip("shapely")
    # A block whose middle is so far from the first one's, in a CRS that is turned against the first and has other units.
    (x,), (y,) = transform(UTM, crs, [500_050 + east], [5_199_950])
    (tip_x,), (tip_y,) = transform(UTM, crs, [500_051 + east], [5_199_950])
    side = float(np.hypot(tip_x - x, tip_y - y))
    there = stored("there", x - 50 * side, y + 50 * side, "test", crs=crs, side=side)
    square = shapely.box(x - 50 * side, y - 50 * side, x + 50 * side, y + 50 * side).segmentize(side)
    shape = shapely.transform(square, lambda points: np.array(transform(crs, UTM, *points.T)).T)
    true = shapely.box(500_000, 5_199_900, 500_100, 5_200_000).distance(shape)
    if true >= 20:
        check(HERE, there)
        return
    with pytest.raises(DataError) as told:
        check(HERE, there)
    if true == 0:
        assert "overlap" in str(told.value)
    else:
        found = float(re.search(r"are (\S+) m apart", str(told.value))[1])
        assert found == pytest.approx(true / 0.9996, abs=0.06)  # the grid's meters are longer there


def test_web_mercator_meters_are_not_meters() -> None:
    mercator = CRS.from_epsg(3857)
    (x,), (y,) = transform("EPSG:4326", mercator, [10.0], [60.0])
    one = Grid(mercator, Affine(1, 0, x, 0, -1, y), 100, 100)
    (east,), (north,) = transform(mercator, "EPSG:32632", [x + 140], [y])
    other = Grid(CRS.from_epsg(32632), Affine(1, 0, east, 0, -1, north), 100, 100)
    assert measure_ground_distance(one, other) == pytest.approx(20, abs=1.5), "40 m of the map are 20 m on the ground"


def test_one_raster_under_two_names_is_known_without_a_crs() -> None:
    bare = [stored(name, 0, 0, part, crs=None) for name, part in [("a", "train"), ("b", "test")]]
    with pytest.raises(DataError, match="'a' and 'b' overlap"):
        check(*bare)
    check(bare[0], stored("c", 0, 0, "test", crs=None, sha256="b"))


sides = st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(1, 50), st.floats(1, 50)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)


@given(sides, sides)
def test_distances_of_rectangles_are_those_of_shapely(one, other) -> None:
    shapely = pytest.importorskip("shapely")
    found, true = measure_box_distance(one, other, 1.0), shapely.box(*one).distance(shapely.box(*other))
    assert found == pytest.approx(true, abs=1e-9) if found >= 0 else true == 0


@given(sides, sides, st.floats(0, 6))
@settings(max_examples=50)
def test_distances_of_turned_blocks_are_those_of_shapely(one, other, angle: float) -> None:
    shapely = pytest.importorskip("shapely")

    def turned(points):
        return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    first, second = (
        project_outline(Grid(UTM, Affine((b[2] - b[0]) / 9, 0, b[0], 0, -(b[3] - b[1]) / 9, b[3]), 9, 9), UTM) for b in (one, other)
    )
    second = turned(second)
    shapes = shapely.polygons(first), shapely.transform(shapely.box(*other), turned)
    true = shapes[0].distance(shapes[1])
    if true > 0:
        assert not contains_any(first, second) and not contains_any(second, first)
        assert min(measure_ring_distance(first, second), measure_ring_distance(second, first)) == pytest.approx(true, abs=1e-9)
    elif shapes[0].intersection(shapes[1]).area > 10:
        assert contains_any(first, second) or contains_any(second, first)


@given(st.floats(-179.99, 179.99), st.floats(-80, 80), st.floats(0, 360), st.floats(0, 500))
def test_boxes_within_reach_are_never_passed_over(lon: float, lat: float, towards: float, meters: float) -> None:
    here = CRS.from_proj4(f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84")
    x, y = meters * np.cos(np.radians(towards)), meters * np.sin(np.radians(towards))
    (east,), (north,) = transform(here, "EPSG:4326", [x], [y])
    assert may_be_close((lon, lat, lon, lat), (east, north, east, north), meters)
    assert not may_be_close((lon, lat, lon, lat), (lon, lat - 1, lon, lat - 1), 500)
