"""What is found in a CHM, a DTM, and rasters of another kind."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.bands.elevation_checks import scan_band
from forestgaps_geo.checks.input_checks import Finding, check_raster
from forestgaps_geo.files.gdal import configure_gdal

Found = Callable[..., dict[str, Finding]]


@pytest.fixture
def found(raster) -> Found:
    def look(values: np.ndarray, kind: str = "chm", *, feet: bool = False, scale: float | None = None, **options: object):
        with configure_gdal(), open_band(raster("a.tif", values, **options), feet=feet, scale=scale) as band:
            return {finding.kind: finding for finding in check_raster(band, kind)}

    return look


def canopy(rows: int = 200, columns: int = 220, *, tall: float = 25) -> np.ndarray:
    """Crowns of some 12 m with ground between them, meters."""
    y, x = np.mgrid[:rows, :columns]
    crowns = np.maximum(np.sin(x / 4) * np.sin(y / 4 + x / 50), 0)
    noise = np.random.default_rng(0).normal(0, 0.05, crowns.shape)
    return (tall * crowns + noise).astype(np.float32)


def ground(rows: int = 200, columns: int = 220, level: float = 400) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (level + 0.2 * y + 6 * np.sin(x / 40)).astype(np.float32)


def test_nothing_is_reported_for_canopy_and_for_ground(found) -> None:
    assert found(canopy()) == {}
    assert found(ground(), "dtm") == {}


@pytest.mark.parametrize(
    ("factor", "kind", "option"),
    [
        (10, "int16", "--scale 0.1"),
        (100, "uint16", "--scale 0.01"),
        (1000, "int32", "--scale 0.001"),
        (1 / 0.3048, "float32", "--feet"),
    ],
)
def test_heights_in_another_unit_are_reported_with_the_option_that_converts_them(found, factor, kind, option) -> None:
    heights = np.maximum(canopy(tall=35), 0) * factor
    values = heights if kind == "float32" else np.rint(heights)
    (finding,) = (f for name, f in found(values, dtype=kind, nodata=None).items() if name in ("unit", "feet"))
    assert f"({option})" in finding.message
    others = {"--scale 0.1", "--scale 0.01", "--scale 0.001", "--feet"} - {option}
    assert not any(f"({other})" in finding.message for other in others)
    converted = found(values, dtype=kind, nodata=None, feet=option == "--feet", scale=None if option == "--feet" else 1 / factor)
    assert converted.keys() <= {"rounded"}


def test_a_dsm_in_decimeters_is_refused_and_not_reported_as_feet(found) -> None:
    finding = found(np.rint((ground() + canopy()) * 10), "dsm", dtype="int16", nodata=None)["unit"]
    assert finding.severity == "error"
    assert "--scale 0.1" in finding.message
    assert "feet" not in finding.message


def test_elevations_and_offsets_are_no_heights(found) -> None:
    for heights in (ground(), ground() + canopy(), canopy() + 47):
        assert found(heights)["no ground"].severity == "error"
    assert found(canopy() - 20)["negative heights"].severity == "error"


def test_nodata_of_zero_takes_bare_ground_away(found) -> None:
    heights = np.where(canopy() < 0.5, 0, canopy())
    finding = found(heights, nodata=0)["nodata zero"]
    assert finding.values["fraction"] == pytest.approx(float((heights == 0).mean()))
    assert re.search(r"add --nodata=-9999.*gdal_translate -a_nodata none \S+a.tif \S+a_with_ground.tif", finding.message)
    assert "nodata zero" not in found(heights, nodata=-9999)


@pytest.mark.parametrize("kind", ["dtm", "chm"])
def test_a_collar_of_zeros_is_a_note(found, kind: str) -> None:
    values = ground(level=5) if kind == "dtm" else canopy()
    values[:, :40] = 0
    assert "--nodata=0" in found(values, kind)["zeros"].message
    turned = ground(level=5) if kind == "dtm" else canopy()
    y, x = np.mgrid[: turned.shape[0], : turned.shape[1]]
    turned[(x + y < 80) | (x + y > 340)] = 0
    assert "--nodata=0" in found(turned, kind)["zeros"].message


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((-9999, "float32"), (-99, "float32"), (1e38, "float32"), (3.4028234663852886e38, "float32")),
        *((-32768, "int16"), (32767, "int16"), (65535, "uint16")),
        *((-3.4028234663852886e38, "float64"), (-9999.9, "float64")),
    ],
)
@pytest.mark.parametrize("kind", ["dsm", "chm"])
def test_undeclared_nodata_is_reported_by_a_value_that_works(raster, kind: str, value: float, dtype: str) -> None:
    values = (np.maximum(canopy(), 0) + (ground() if kind == "dsm" else 0)).astype(np.float64)
    values[:30] = value
    path = raster("a.tif", values, dtype=dtype, nodata=None)
    with configure_gdal(), open_band(path) as band:
        said = [finding.message for finding in check_raster(band, kind)]
        try:
            scan_band(band)
        except DataError as error:
            said.append(str(error))
    stated = {float(one) for one in re.findall(r"--nodata=(\S+?)(?: |$)", " ".join(said))}
    assert len(stated) == 1
    with configure_gdal(), open_band(path, nodata=stated.pop()) as band:
        assert scan_band(band).valid == values[30:].size
        assert "sentinel" not in {finding.kind for finding in check_raster(band, kind)}


def test_masks_and_probabilities_are_no_elevations(found) -> None:
    mask = (canopy() < 5).astype(np.float32)
    chance = 1 / (1 + np.exp(canopy() - 5))
    for values, name in ((mask, "zeros and ones"), (chance, "fractions")):
        assert found(values, "dsm")[name].severity == "error"
        assert found(values, "chm")[name].severity == "note"


def test_a_hillshade_is_no_surface(found) -> None:
    y, x = np.gradient(ground() + canopy())
    shade = np.clip(128 + 60 * (x - y), 1, 255)
    assert found(np.rint(shade), "dsm", dtype="uint8", nodata=0)["picture"].severity == "error"


def test_a_reference_of_zeros_and_ones_is_refused(raster) -> None:
    with configure_gdal(), open_band(raster("a.tif", (canopy() < 5).astype(np.float32))) as band:
        assert [finding.severity for finding in check_raster(band, "chm", is_reference=True)] == ["error"]


def test_land_below_the_sea_is_land(found) -> None:
    assert found(ground(level=-420) + canopy(), "dsm") == {}
