from __future__ import annotations

import re

import pytest
from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.crs import get_meters_per_unit, is_same_crs
from forestgaps_geo.grids.grid import Grid, crop_to_overlap, explain_not_north_up, match_pixel_blocks
from forestgaps_geo.grids.target_grid import choose_target_grid, suggest_metric_crs

UTM = CRS.from_epsg(32610)
GRID = Grid(UTM, Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000), 41, 30)


def wanted(grid: Grid = GRID, *, resolution_m: float | None = None, crs: CRS | None = None, resample: bool = True) -> Grid:
    return choose_target_grid(grid, "dsm.tif", resolution_m=resolution_m, crs=crs, resample=resample)


def test_a_grid_is_kept_unless_another_is_requested() -> None:
    assert wanted(resample=False) is GRID
    assert wanted(resolution_m=0.5, resample=False) is GRID


def test_coarser_pixels_begin_at_the_same_corner_and_lie_wholly_inside() -> None:
    assert wanted(resolution_m=1.0) == Grid(UTM, Affine(1, 0, 500_000, 0, -1, 5_200_000), 20, 15)
    assert wanted(resolution_m=0.8) == Grid(UTM, Affine(0.8, 0, 500_000, 0, -0.8, 5_200_000), 25, 18)


def test_pixels_are_not_changed_unasked() -> None:
    with pytest.raises(DataError, match=r"dsm.tif: has pixels of 0.5 m, not of 1 m. Add --resample, or give --resolution 0.5"):
        wanted(resolution_m=1.0, resample=False)
    with pytest.raises(DataError, match="cannot add detail"):
        wanted(resolution_m=0.25)
    with pytest.raises(DataError, match="less than one of 50 m"):
        wanted(resolution_m=50.0)


def test_degrees_are_refused_and_a_grid_in_meters_is_proposed() -> None:
    degrees = Grid(CRS.from_epsg(4326), Affine(1e-5, 0, -122.6, 0, -1e-5, 47.2), 100, 100)
    with pytest.raises(DataError, match=r"in degrees .EPSG:4326., not in meters; --resample --crs EPSG:32610"):
        wanted(degrees, resample=False)
    assert suggest_metric_crs(degrees) == "EPSG:32610"
    with pytest.raises(DataError, match=r"such as --resolution \d"):
        wanted(degrees, crs=UTM)
    moved = wanted(degrees, crs=UTM, resolution_m=2.0)
    assert moved.crs == UTM
    assert moved.resolution == 2.0
    assert 50 < moved.rows < 62
    assert 36 < moved.columns < 46


FEET = CRS.from_epsg(2285)  # Washington North, in feet of 1200/3937 m


def test_pixels_of_a_grid_in_feet_are_reported_in_meters() -> None:
    feet = Grid(FEET, Affine(3, 0, 1_200_000, 0, -3, 200_000), 10, 10)
    assert feet.resolution == pytest.approx(3 * 1200 / 3937, rel=1e-12)
    assert wanted(feet, resample=False) is feet
    yard_by_meter = Grid(FEET, Affine(3937 / 1200, 0, 0, 0, -3937 / 1200, 0), 10, 10)
    assert wanted(yard_by_meter, resolution_m=1.0, resample=False) is yard_by_meter
    with pytest.raises(DataError, match=r"has pixels of 0.914402 m, not of 1 m"):
        wanted(feet, resolution_m=1.0, resample=False)


def test_coarser_pixels_on_a_grid_in_feet_have_the_meters_requested() -> None:
    side = 0.5 * 3937 / 1200
    feet = Grid(FEET, Affine(side, 0, 1_200_000, 0, -side, 200_000), 40, 30)
    coarse = wanted(feet, resolution_m=1.0)
    assert (coarse.rows, coarse.columns) == (20, 15)
    assert coarse.transform.a == pytest.approx(2 * side)
    assert coarse.resolution == pytest.approx(1.0)
    assert match_pixel_blocks(feet, coarse) == (0, 0, 2)


def test_a_grid_may_be_brought_to_one_in_feet() -> None:
    moved = wanted(crs=FEET, resolution_m=1.0)
    assert moved.crs == FEET
    assert moved.resolution == pytest.approx(1.0)
    left, bottom, right, top = moved.bounds
    assert (right - left) * 1200 / 3937 == pytest.approx(15, abs=3)
    assert (top - bottom) * 1200 / 3937 == pytest.approx(20, abs=3)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (Affine(0.94, 0.34, 0, 0.34, -0.94, 0), "rotated"),
        (Affine(1, 0, 0, 0, 1, 0), "mirrored"),
        (Affine(1, 0, 0, 0, -2, 0), "not square"),
    ],
)
def test_crooked_grids_are_refused_unless_a_new_one_is_requested(transform: Affine, reason: str) -> None:
    grid = Grid(UTM, transform, 50, 50)
    assert reason in (explain_not_north_up(transform) or "")
    with pytest.raises(DataError, match=f"{reason}.*; add --resample"):
        wanted(grid, resample=False)
    with pytest.raises(DataError, match=r"such as --resolution \d"):
        wanted(grid)
    straight = wanted(grid, resolution_m=2.0)
    assert explain_not_north_up(straight.transform) is None
    west, south, east, north = straight.bounds
    left, bottom, right, top = grid.bounds
    assert west <= left
    assert south <= bottom
    assert east >= right
    assert north >= top


def test_a_grid_without_crs_cannot_be_moved() -> None:
    with pytest.raises(DataError, match="has no CRS"):
        wanted(Grid(None, GRID.transform, 10, 10), crs=UTM, resolution_m=1.0)


def test_heights_do_not_make_another_place() -> None:
    assert is_same_crs(CRS.from_user_input("EPSG:2193+7839"), CRS.from_epsg(2193))
    assert not is_same_crs(CRS.from_epsg(2193), UTM)
    assert not is_same_crs(None, UTM)


def test_blocks_are_found_where_grids_fit_whole() -> None:
    assert match_pixel_blocks(GRID, GRID) == (0, 0, 1)
    assert match_pixel_blocks(GRID, GRID.window(3, 2, 10, 10)) == (3, 2, 1)
    coarse = Grid(UTM, Affine(1, 0, 500_001, 0, -1, 5_199_998.5), 10, 10)
    assert match_pixel_blocks(GRID, coarse) == (3, 2, 2)
    off = Grid(UTM, Affine(1, 0, 500_001.1, 0, -1, 5_199_998.5), 10, 10)
    assert match_pixel_blocks(GRID, off) is None
    outside = Grid(UTM, Affine(1, 0, 499_999, 0, -1, 5_200_000), 10, 10)
    assert match_pixel_blocks(GRID, outside) is None
    slow_drift = Grid(UTM, Affine(0.503, 0, 500_000, 0, -0.503, 5_200_000), 40, 25)
    assert match_pixel_blocks(GRID, slow_drift) is None


def test_the_common_part_of_two_grids_is_whole_pixels_of_the_first() -> None:
    other = Grid(UTM, Affine(0.5, 0, 500_004.9, 0, -0.5, 5_199_997.6), 100, 100)
    part = crop_to_overlap(GRID, other)
    assert part is not None
    assert (part.rows, part.columns) == (36, 20)
    assert part.bounds[0] == 500_005
    assert part.bounds[3] == 5_199_997.5
    assert crop_to_overlap(GRID, Grid(UTM, Affine(0.5, 0, 500_015, 0, -0.5, 5_200_000), 41, 30)) is None


@pytest.mark.parametrize(("own", "wanted", "rows"), [(1.1, 1.0, 44), (1.4, 1.0, 56), (1.0, 0.9, 44)])
def test_pixels_a_little_coarser_than_requested_are_brought_there_where_requested(own, wanted, rows) -> None:
    source = Grid(CRS.from_epsg(32610), Affine(own, 0, 500_000, 0, -own, 5_200_000), 40, 40)
    grid = choose_target_grid(source, "dsm.tif", resolution_m=wanted, crs=None, resample=True)
    assert (grid.rows, grid.columns, grid.resolution) == (rows, rows, pytest.approx(wanted, rel=1e-3))
    with pytest.raises(DataError, match="cannot add detail"):
        choose_target_grid(source, "dsm.tif", resolution_m=wanted, crs=None, resample=False)


ENGINEERING = """ENGCRS["Site grid", EDATUM["Site"], CS[Cartesian, 2], AXIS["(E)", east], AXIS["(N)", north],
    LENGTHUNIT["{}", {}]]"""


@pytest.mark.parametrize(("name", "factor"), [("metre", 1), ("foot", 0.3048), ("US survey foot", 1200 / 3937), ("kilometre", 1000)])
def test_an_engineering_crs_counts_in_its_own_unit(name, factor) -> None:
    crs = CRS.from_wkt(ENGINEERING.format(name, factor))
    assert get_meters_per_unit(crs) == pytest.approx(factor)
    assert Grid(crs, Affine(2, 0, 0, 0, -2, 0), 10, 10).resolution == pytest.approx(2 * factor)
    assert get_meters_per_unit(CRS.from_epsg(4326)) == 1


def test_a_geocentric_crs_is_no_place_for_a_raster() -> None:
    grid = Grid(CRS.from_epsg(4978), Affine(1, 0, -2_300_000, 0, -1, -3_500_000), 10, 10)
    with pytest.raises(DataError, match=r"is geocentric.*gdal_translate -a_srs"):
        choose_target_grid(grid, "dsm.tif", resolution_m=None, crs=None, resample=False)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1.2e-5, 0, -122.6, 0, -0.9e-5, 47.2)),
        ("EPSG:4979", Affine(1e-5, 0, 7.5, 0, -1e-5, 48.5)),
        ("EPSG:32610", Affine(1, 0, 527_000, 0, -1.2, 5_233_000)),
        ("EPSG:2285", Affine(3.28084, 0, 1_192_000, 0, -6.5, 97_000)),
        ("EPSG:32610", Affine(0.94, 0.34, 527_000, 0.34, -0.94, 5_233_000)),
        ("EPSG:4087", Affine(1, 0, -13_600_000, 0, -1, 5_250_000)),
    ],
)
def test_the_options_printed_for_a_refused_grid_make_one(crs, transform) -> None:
    grid = Grid(CRS.from_user_input(crs), transform, 200, 200)
    with pytest.raises(DataError) as refused:
        choose_target_grid(grid, "dsm.tif", resolution_m=None, crs=None, resample=False)
    assert "--resample" in str(refused.value)
    found = dict(re.findall(r"--(crs|resolution) (\S+)", str(refused.value)))
    asked = CRS.from_user_input(found["crs"]) if "crs" in found else None
    target = choose_target_grid(grid, "dsm.tif", resolution_m=float(found["resolution"]), crs=asked, resample=True)
    assert explain_not_north_up(target.transform) is None
    assert target.nominal_resolution == pytest.approx(float(found["resolution"]), rel=0.02)
