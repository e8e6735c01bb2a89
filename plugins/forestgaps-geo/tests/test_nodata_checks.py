"""Collars of one value, surfaces without canopy, heights off by a constant, shares in percent, units in names of bands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from forestgaps_geo.bands.band import open_band
from forestgaps_geo.checks.input_checks import Finding, check_raster
from forestgaps_geo.files.gdal import configure_gdal

Found = Callable[..., dict[str, Finding]]
ROWS, COLUMNS = 200, 220


@pytest.fixture
def found(raster) -> Found:
    def look(values: np.ndarray, kind: str = "chm", *, name: str = "", stated: bool = False, **options: object):
        path: Path = raster("a.tif", values, **options)
        if name:
            with rasterio.open(path, "r+") as file:
                file.descriptions = [name]
        with configure_gdal(), open_band(path, scale=1.0 if stated else None) as band:
            return {finding.kind: finding for finding in check_raster(band, kind)}

    return look


def canopy(tall: float = 25) -> np.ndarray:
    """Crowns of some 12 m with ground between them, meters."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    crowns = np.maximum(np.sin(x / 4) * np.sin(y / 4 + x / 50), 0)
    noise = np.random.default_rng(0).normal(0, 0.05, crowns.shape)
    return (tall * crowns + noise).astype(np.float32)


def ground(level: float = 400, slope: float = 0.2) -> np.ndarray:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return (level + slope * y + 6 * np.sin(x / 40)).astype(np.float32)


def ragged(kind: str) -> np.ndarray:
    """True where a survey of uneven outline has no data."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return {
        "round": np.hypot((y - ROWS / 2) / ROWS, (x - COLUMNS / 2) / COLUMNS) > 0.48,
        "wavy": x < 14 + 8 * np.sin(y / 9),
        "rotated": y < 60 - 0.45 * x,
    }[kind]


@pytest.mark.parametrize("outline", ["round", "wavy", "rotated"])
@pytest.mark.parametrize(("kind", "value"), [("chm", 0), ("chm", 2.5), ("dsm", 398.5), ("dtm", 398.5), ("dtm", 0)])
def test_a_collar_of_one_value_is_reported_with_the_option_that_leaves_it_out(found, outline, kind, value) -> None:
    heights = {"chm": np.maximum(canopy(), 0.01), "dsm": ground() + canopy(), "dtm": ground(level=4 if value == 0 else 400)}[kind]
    values = np.where(ragged(outline), np.float32(value), heights)
    (finding,) = (f for f in found(values, kind).values() if "--nodata=" in f.message)
    assert finding.severity == "note"
    assert f"--nodata={value:g} " in finding.message


def test_a_field_inside_and_a_lake_are_no_collar(found) -> None:
    heights = np.maximum(canopy(), 0.01)
    heights[60:140, 70:150] = 0
    assert found(heights) == {}
    lake = ground()
    lake[50:150, 40:180] = 395.25
    assert found(lake, "dtm") == {}


def test_fields_that_reach_the_border_as_often_as_they_lie_inside_are_no_collar(found) -> None:
    heights = np.maximum(canopy(), 0.01)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    heights[(x // 24 + y // 24) % 3 == 0] = 0
    assert found(heights) == {}


@pytest.mark.parametrize("slope", [0, 0.3, 0.9])
def test_terrain_given_as_surface_is_noted(found, slope) -> None:
    finding = found(ground(slope=slope), "dsm")["no canopy"]
    assert finding.severity == "note"
    assert "(a DTM), give the DSM" in finding.message
    assert found(ground(slope=slope) + canopy(), "dsm") == {}


def test_a_few_trees_are_canopy(found) -> None:
    surface = ground()
    for row, column in ((30, 40), (90, 100), (150, 60), (170, 180)):
        surface[row : row + 12, column : column + 12] += 9 + canopy(4)[:12, :12]
    assert "no canopy" not in found(surface, "dsm")


def test_pixels_too_coarse_for_crowns_are_not_evaluated(found) -> None:
    assert "no canopy" not in found(ground(), "dsm", resolution=5.0)


@pytest.mark.parametrize("kind", ["terrain", "slope", "hillshade"])
def test_smooth_values_given_as_heights_are_reported(found, kind) -> None:
    rise, across = np.gradient(ground(level=8, slope=0.02))
    values = {
        "terrain": ground(level=8, slope=0.02),
        "slope": np.degrees(np.arctan(np.hypot(rise, across))) + 1,
        "hillshade": np.clip(160 + 300 * across, 0, 255).astype(np.uint8),
    }[kind]
    dtype = "uint8" if kind == "hillshade" else "float32"
    assert found(values, dtype=dtype, nodata=None)


def test_low_and_even_vegetation_is_no_finding(found) -> None:
    assert found(np.maximum(canopy(1.2), 0.01)) == {}


@pytest.mark.parametrize("offset", [1.5, 3, 8, -3])
def test_a_constant_added_to_heights_is_reported(found, offset) -> None:
    findings = found(canopy() + offset)
    assert findings
    if offset > 0:
        assert "offset" in findings
        assert findings["offset"].values["offset_m"] == pytest.approx(offset, abs=0.4)


def test_closed_canopy_whose_lowest_heights_vary_is_fine(found) -> None:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    assert found(canopy() + (4 + 3 * np.sin(x / 30) * np.sin(y / 37)).astype(np.float32)) == {}


def test_a_fraction_in_percent_is_noted(found) -> None:
    cover = np.clip(np.rint(canopy(240)), 0, 100)
    for kind in ("chm", "dsm"):
        assert found(cover, kind, dtype="uint8", nodata=255)["percent"].severity == "note"
    assert "percent" not in found(canopy(100))


def test_whole_numbers_may_be_decimeters(found) -> None:
    whole = np.rint(np.maximum(canopy(tall=4) * 10, 0))
    assert "--scale 0.1" in found(whole, dtype="int16")["rounded"].message
    assert "--scale" not in found(whole, dtype="int16", stated=True)["rounded"].message


@pytest.mark.parametrize(
    ("name", "option"),
    [("height_ft", "--feet"), ("Z (feet)", "--feet"), ("canopy_dm", "--scale 0.1"), ("CHM in centimeters", "--scale 0.01")],
)
def test_a_unit_in_the_name_of_a_band_is_reported(found, name, option) -> None:
    (finding,) = found(canopy(), name=name).values()
    assert f"Add {option} if" in finding.message
    assert found(canopy(), name=name, stated=True) == {}


@pytest.mark.parametrize("name", ["canopy height", "leftover", "gap at 5 m", "dmax"])
def test_other_names_of_bands_state_no_unit(found, name) -> None:
    assert found(canopy(), name=name) == {}
