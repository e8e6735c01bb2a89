"""What `gaps` and `change` report of rasters that are not what they seem, and the areas that they give then."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
import typer
from rasterio import Affine
from rasterio.warp import transform
from typer.testing import CliRunner

from forestgaps_core.errors import DataError
from forestgaps_gaps.commands.change import change
from forestgaps_gaps.commands.gaps import gaps
from forestgaps_geo.grids.ground_scale import compute_distance_m

GAP_PIXELS = 233


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a command and return its JSON; mistakes of the user come out as errors."""

    def call(command: Callable[..., None], *words: object) -> Any:
        app = typer.Typer()
        app.command()(command)
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


@pytest.fixture
def heights() -> np.ndarray:
    """Canopy of 15 to 25 m with gaps of 200, 30 and 3 pixels at 5 m."""
    canopy = np.random.default_rng(0).uniform(15, 25, (120, 120)).astype(np.float32)
    canopy[10:20, 10:30], canopy[50:55, 60:66], canopy[80:81, 80:83] = 1.0, 2.0, 0.5
    return canopy


def gap_area(found: Any, name: str = "5 m") -> float:
    return float(found["gaps"][name]["gap_area_m2"])


@pytest.mark.parametrize(("code", "x", "y"), [(3857, 1252344, 6800000), (4087, 1252344, 5788600), (32629, 1870000, 5870000)])
def test_areas_are_those_on_the_ground(run, raster, heights, code: int, x: float, y: float) -> None:
    path = raster("chm.tif", heights, crs=f"EPSG:{code}", transform=Affine(1, 0, x, 0, -1, y))
    found = run(gaps, path, "-t", 5)
    middle = [(x + 60 + dx, y - 60 + dy) for dx, dy in ((-50, 0), (50, 0), (0, -50), (0, 50))]
    (w, e, s, n), (lw, le, ls, ln) = transform(f"EPSG:{code}", "EPSG:4326", *zip(*middle, strict=True))
    true = compute_distance_m(w, lw, e, le) * compute_distance_m(s, ls, n, ln) / 1e4
    assert gap_area(found) == pytest.approx(GAP_PIXELS * true, rel=1e-3)
    assert "on the ground" in found["notes"][0]
    other = run(change, path, path, "-t", 5, "--out", path.parent / "change")
    assert other["thresholds"][0]["both_m2"] == pytest.approx(GAP_PIXELS * true, rel=1e-3)


@pytest.mark.parametrize("factor", [10, 100])
def test_decimeters_and_centimeters_are_refused_until_they_are_converted(run, raster, heights, factor: int) -> None:
    path = raster("chm.tif", np.rint(heights * factor).astype(np.int16), nodata=-32768)
    with pytest.raises(DataError, match=rf"--scale {1 / factor:g}\b[\s\S]*--skip-checks"):
        run(gaps, path, "-t", 5)
    with pytest.raises(DataError, match=rf"--scale {1 / factor:g}\b"):
        run(change, path, path, "-t", 5, "--out", path.parent / "refused")
    assert gap_area(run(gaps, path, "-t", 5, "--scale", 1 / factor)) == GAP_PIXELS
    assert not (path.parent / "refused").exists()


def test_feet_are_converted_where_the_file_or_the_user_states_it(run, raster, heights) -> None:
    feet = (heights / 0.3048).astype(np.float32)
    bare = raster("chm.tif", feet)
    assert "may be in feet (--feet)" in run(gaps, bare, "-t", 5)["notes"][0]
    assert gap_area(run(gaps, bare, "-t", 5, "--feet")) == GAP_PIXELS
    declared = run(gaps, raster("declared.tif", feet, unit="ft"), "-t", 5)
    assert gap_area(declared) == GAP_PIXELS
    assert "declares heights in ft; they are converted" in declared["notes"][0]


def test_zeros_and_ones_are_heights_where_a_threshold_is_given(run, raster) -> None:
    clearing = np.zeros((50, 50), np.float32)
    clearing[10:20, 10:20] = 1
    for name, values, nodata in (("clearing.tif", clearing, -9999), ("field.tif", np.zeros((50, 50), np.uint8), 255)):
        found = run(gaps, raster(name, values, nodata=nodata), "-t", 5)
        assert gap_area(found) == 2500
        assert len(found["notes"]) == 1
    found = run(gaps, raster("map.tif", clearing.astype(np.uint8), nodata=255))
    assert found["gaps"]["map"]["gap_area_m2"] == 100
    assert found["notes"] == []
    none = run(gaps, raster("none.tif", np.zeros((50, 50), np.uint8), nodata=255))
    assert none["gaps"]["map"]["gaps"] == 0
    assert "read as a gap map without gaps" in none["notes"][0]


def test_nodata_of_zero_is_noted_and_the_note_gives_the_true_area(run, raster, heights) -> None:
    heights[10:20, 10:30] = 0
    path = raster("chm.tif", heights, nodata=0)
    found = run(gaps, path, "-t", 5)
    assert gap_area(found) == 33
    assert "add --nodata=-9999" in found["notes"][0]
    assert gap_area(run(gaps, path, "-t", 5, "--nodata=-9999")) == GAP_PIXELS


def test_elevations_are_refused_and_can_be_forced(run, raster, heights) -> None:
    path = raster("dsm.tif", heights + 300)
    with pytest.raises(DataError, match="seems to hold elevations"):
        run(gaps, path, "-t", 5)
    assert "seems to hold elevations" in run(gaps, path, "-t", 5, "--skip-checks")["notes"][0]


def test_a_gap_map_is_no_chm_beside_a_gap_map(run, raster) -> None:
    mask = np.zeros((50, 50), np.uint8)
    mask[10:20, 10:20] = 1
    path = raster("map.tif", mask, nodata=255)
    with pytest.raises(DataError, match="holds only 0 and 1"):
        run(gaps, path, "--chm", raster("other.tif", mask, nodata=255))


@pytest.mark.parametrize(("scale", "kind"), [(0.01, "int16"), (0.001, "int32"), (0.1, "uint16")])
@pytest.mark.parametrize("declared", [True, False])
def test_heights_in_integers_equal_the_threshold_they_stand_for(
    run, tmp_path, raster, scale: float, kind: str, declared: bool
) -> None:
    levels = np.arange(10, 400) / 10  # 1.0 to 39.9 m in each row; those equal to a threshold are not below it
    path = raster("chm.tif", np.round(np.tile(levels, (4, 1)) / scale).astype(kind))
    if declared:
        with rasterio.open(path, "r+") as file:
            file.scales = (scale,)
    stated = () if declared else ("--scale", scale)
    for threshold in (1.3, 5.5, 6.0, 8.2, 16.4, 33.1):
        below = run(gaps, path, "-t", threshold, *stated, "--skip-checks")
        up_to = run(gaps, path, "-t", threshold, *stated, "--skip-checks", "--at-most")
        pixels = [gap_area(found, f"{threshold:g} m") for found in (below, up_to)]
        assert pixels == [4 * (round(threshold * 10) - 10), 4 * (round(threshold * 10) - 9)]


def test_a_raster_without_data_is_noted(run, raster) -> None:
    found = run(gaps, raster("chm.tif", np.full((20, 20), np.nan, np.float32)), "-t", 5)
    assert any("has no data, every pixel" in note for note in found["notes"])


def test_cells_of_a_raster_with_a_vertical_crs_are_written(run, raster, heights, tmp_path) -> None:
    path = raster("chm.tif", heights, crs="EPSG:26910+5703")
    found = run(gaps, path, "-t", 5, "--statistics", tmp_path / "statistics", "--cells", 40)
    assert gap_area(found) == GAP_PIXELS
    with rasterio.open(tmp_path / "statistics" / "cells_5m.tif") as file:
        assert file.crs.to_epsg() == 26910
