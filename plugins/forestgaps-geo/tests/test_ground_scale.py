from __future__ import annotations

from math import cos, radians

import pytest
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_geo.checks.input_checks import check_grid
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.ground_scale import GroundScale, compute_distance_m, get_ground_scale, measure_ground_scale
from forestgaps_geo.grids.target_grid import choose_target_grid

PLACE = 11.25, 52.0  # degrees east and north


def grid_at(code: int, side: float = 1.0) -> Grid:
    crs = CRS.from_epsg(code)
    (x,), (y,) = transform("EPSG:4326", crs, [PLACE[0]], [PLACE[1]])
    return Grid(crs, Affine(side, 0, x - 60 * side, 0, -side, y + 60 * side), 120, 120)


def test_a_degree_of_latitude_has_its_published_length() -> None:
    assert compute_distance_m(0, -0.5, 0, 0.5) == pytest.approx(110_574, rel=1e-4)
    assert compute_distance_m(0, 44.5, 0, 45.5) == pytest.approx(111_132, rel=1e-4)
    assert compute_distance_m(179.5, 0, -179.5, 0) == pytest.approx(111_320, rel=1e-4), "over the date line"


@pytest.mark.parametrize(
    ("code", "across", "up"),
    [
        (3395, cos(radians(52)), cos(radians(52))),  # World Mercator
        (4087, cos(radians(52)), 1.0),  # equidistant cylindrical
        (6933, None, None),  # equal-area cylindrical
    ],
)
def test_the_scale_is_that_of_the_projection(code: int, across: float | None, up: float | None) -> None:
    grid = grid_at(code)
    x, y = grid.transform.c + 60, grid.transform.f - 60
    found = measure_ground_scale(grid.crs.to_wkt(), x, y, 1.0)
    if across is None:
        assert found.mean == pytest.approx(1, abs=2e-4), "areas are true"
        assert found.x != pytest.approx(1, abs=0.1)
    else:
        assert (found.x, found.y) == (pytest.approx(across, rel=3e-3), pytest.approx(up, rel=3e-3))


@pytest.mark.parametrize("code", [32632, 25832, 3035])
def test_projections_made_for_a_place_are_left_as_they_are(code: int) -> None:
    grid = grid_at(code)
    assert grid.ground_scale == GroundScale()
    assert grid.resolution == 1.0
    assert check_grid("a.tif", grid) == []


@pytest.mark.parametrize("code", [3857, 3395, 32629, 3413])
def test_elsewhere_pixels_have_their_size_on_the_ground_and_a_note_reports_it(code: int) -> None:
    grid = grid_at(code, 2.0)
    corners = [(grid.transform.c + 120 + dx, grid.transform.f - 120 + dy) for dx, dy in ((-50, 0), (50, 0))]
    longitude, latitude = transform(grid.crs, "EPSG:4326", *zip(*corners, strict=True))
    true = 2 * compute_distance_m(longitude[0], latitude[0], longitude[1], latitude[1]) / 100
    assert grid.resolution == pytest.approx(true, rel=2e-3)
    assert abs(grid.resolution / 2 - 1) > 0.01
    (note,) = check_grid("a.tif", grid)
    assert note.severity == "note"
    assert f"a pixel of 2 m is {grid.resolution:.3g} m on the ground" in note.message


def test_a_new_grid_has_pixels_of_the_size_on_the_ground() -> None:
    found = choose_target_grid(grid_at(3857, 0.5), "a.tif", resolution_m=1.0, crs=None, resample=True)
    assert found.resolution == pytest.approx(1.0, rel=1e-3)
    moved = choose_target_grid(grid_at(32632, 0.5), "a.tif", resolution_m=1.0, crs=CRS.from_epsg(3857), resample=True)
    assert moved.resolution == pytest.approx(1.0, rel=1e-3)
    assert moved.transform.a == pytest.approx(1.62, abs=0.01)


def test_stretched_pixels_are_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"0\.617 x 1 m on the ground .*--resample --crs EPSG:32632"):
        choose_target_grid(grid_at(4087), "a.tif", resolution_m=None, crs=None, resample=False)


def test_a_place_that_cannot_be_located_has_no_scale() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    assert get_ground_scale(local, 0, 0, 1.0) == GroundScale()
    assert get_ground_scale(None, 0, 0, 1.0) == GroundScale()
    assert get_ground_scale(CRS.from_epsg(32632), 1e12, 1e12, 1.0) == GroundScale()
