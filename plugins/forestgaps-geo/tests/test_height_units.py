from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.height_units import HeightUnit, get_vertical_unit, resolve_height_unit

FLAT = np.full((3, 4), 7, np.float32)


def unit_of(path, **options) -> HeightUnit:
    with rasterio.open(path) as dataset:
        return resolve_height_unit(path, dataset, **options)


@pytest.mark.parametrize(
    ("declared", "meters"), [("", 1), ("Metre", 1), ("ft", 0.3048), ("US survey foot", 1200 / 3937), ("dm", 0.1), ("mm", 0.001)]
)
def test_a_declared_unit_counts(raster, declared: str, meters: float) -> None:
    assert unit_of(raster("a.tif", FLAT, unit=declared)) == HeightUnit(meters, declared.lower() if meters != 1 else "")


def test_the_user_counts_more_than_the_file(raster) -> None:
    path = raster("a.tif", FLAT, unit="ft")
    assert unit_of(path, scale=1.0) == HeightUnit(1.0)
    assert unit_of(raster("b.tif", FLAT, unit="m"), feet=True) == HeightUnit(0.3048)
    assert unit_of(raster("c.tif", FLAT, crs="EPSG:26910+6360"), feet=True) == HeightUnit(1200 / 3937)


def test_statements_that_contradict_each_other_are_refused(raster) -> None:
    path = raster("a.tif", FLAT, unit="m", crs="EPSG:26910+6360")
    with pytest.raises(DataError, match=r"its band declares heights in m, its vertical CRS in us survey foot\. Add --scale 1"):
        unit_of(path)
    assert unit_of(path, scale=1.0).meters == 1.0
    with pytest.raises(DataError, match="Give one of them"):
        unit_of(path, scale=1.0, feet=True)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_is_above_zero(raster, scale: float) -> None:
    with pytest.raises(DataError, match="a number above 0"):
        unit_of(raster("a.tif", FLAT), scale=scale)


def test_vertical_units_of_all_kinds_of_crs() -> None:
    assert get_vertical_unit(None) == ""
    assert get_vertical_unit(CRS.from_epsg(32632)) == ""
    assert get_vertical_unit(CRS.from_user_input("EPSG:26910+6360")) == "us survey foot"
    assert get_vertical_unit(CRS.from_user_input("EPSG:26910+5703")) == "metre"
    assert get_vertical_unit(CRS.from_epsg(4979)) == "metre", "ellipsoidal heights"
