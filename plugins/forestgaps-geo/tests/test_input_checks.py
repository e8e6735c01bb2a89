from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.checks.input_checks import Finding, check_raster, check_resolution, resolve_findings
from forestgaps_geo.files.gdal import configure_gdal

SURVEYS = Path(os.environ.get("FORESTGAPS_DATA", ""))
Kinds = Callable[..., dict[str, Finding]]


@pytest.fixture
def kinds(raster) -> Kinds:
    """What is found in a surface, by kind."""

    def look(values: np.ndarray, *, feet: bool = False, **options: object) -> dict[str, Finding]:
        with configure_gdal(), open_band(raster("dsm.tif", values, **options), feet=feet) as band:
            return {finding.kind: finding for finding in check_raster(band, "dsm")}

    return look


def heights(rows: int = 300, columns: int = 320, *, tall: float = 20, ground: float = 0.35, seed: int = 0) -> np.ndarray:
    """Crowns some 8 m wide with gaps between them down to the ground, meters above it; noise of a few centimeters."""
    random = np.random.default_rng(seed)
    noise = np.fft.rfft2(random.normal(0, 1, (rows, columns)))
    far = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    field = np.fft.irfft2(noise * np.exp(-((far / 0.05) ** 2)), s=(rows, columns))
    above = field - np.quantile(field, ground)
    canopy = np.where(above > 0, tall * (0.5 + above / above.max() / 2), 0)
    return (canopy + random.normal(0, 0.03, canopy.shape)).astype(np.float32)


def terrain(rows: int = 300, columns: int = 320, *, relief: float = 30, level: float = 400) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (level + relief * np.sin(x / 90) * np.cos(y / 70) + 0.03 * relief * np.sin(x / 7 + y / 9)).astype(np.float32)


def forest(**options: float) -> np.ndarray:
    return terrain() + heights(**options)


def test_nothing_is_reported_for_a_forest_on_hills(kinds) -> None:
    assert kinds(forest()) == {}


# --- a CHM instead of a DSM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", [0.9, 0.35, 0.05])
def test_canopy_heights_are_detected_from_open_to_closed_forest(kinds, ground: float) -> None:
    found = kinds(heights(ground=ground))
    assert found.keys() == {"canopy heights"}
    one = found["canopy heights"]
    assert one.severity == "error"
    assert "ground is near zero everywhere" in one.message
    assert one.values["low_50"] < 1


@pytest.mark.parametrize("level", [-30, 30, 2000])
def test_flat_forest_anywhere_but_at_zero_is_a_surface(kinds, level: float) -> None:
    assert kinds(level + heights()) == {}


def test_hills_that_reach_down_to_the_sea_are_a_surface(kinds) -> None:
    surface = forest()
    assert kinds(surface - surface.min()) == {}


def test_bare_fields_at_the_sea_are_no_canopy(kinds) -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, (300, 320)).astype(np.float32)
    (finding,) = kinds(terrain(relief=0.5, level=0.3) + noise).values()
    assert (finding.kind, finding.severity) == ("no canopy", "note")


# --- units ------------------------------------------------------------------------------------------------------------


def test_crowns_of_100_are_reported_as_feet(kinds) -> None:
    found = kinds(forest(tall=35) / 0.3048)["feet"]
    assert found.severity == "note"
    assert "--feet" in found.message
    assert found.values["drop"] > 60
    assert kinds(forest(tall=45)) == {}, "tall trees in meters"
    assert kinds(forest(tall=35) / 0.3048, feet=True) == {}, "known to be feet"


def test_a_grid_in_feet_asks_for_the_unit_of_elevations(kinds) -> None:
    grid = {"crs": "EPSG:2285", "transform": Affine(3.28, 0, 1_200_000, 0, -3.28, 200_000)}
    assert "its grid is in US survey foot, so its elevations may be in feet" in kinds(forest(), **grid)["feet"].message
    assert kinds(forest(), feet=True, **grid) == {}


# --- voids, water, rounding -------------------------------------------------------------------------------------------


def test_holes_are_counted_inside_the_survey_only(kinds) -> None:
    surface = forest()
    surface[:, :80] = np.nan
    assert kinds(surface) == {}
    surface[100:200, 150:220] = np.nan
    found = kinds(surface)["voids"]
    assert found.severity == "note"
    assert found.values["fraction"] == pytest.approx(100 * 70 / (300 * 240), rel=0.01)
    assert found.message.split(": ")[1].startswith("9.7 % of the pixels inside the survey hold no data")


def test_a_cliff_is_no_foot(kinds) -> None:
    surface = forest()
    surface[:, :60] -= 150
    assert "feet" not in kinds(surface)


def test_a_frozen_lake_is_a_note(kinds) -> None:
    surface = forest()
    surface[100:180, 100:200] = 395.5
    found = kinds(surface)
    assert found.keys() == {"level patches"}
    assert found["level patches"].severity == "note"
    assert "water, or holes that were filled" in found["level patches"].message
    assert found["level patches"].values["fraction"] == pytest.approx(0.08, abs=0.02)


def test_holes_filled_by_triangles_are_a_note(kinds) -> None:
    surface = forest()
    y, x = np.mgrid[:80, :100]
    surface[100:180, 100:200] = 390 + 0.2 * y - 0.1 * x
    assert kinds(surface).keys() == {"facets"}


@pytest.mark.parametrize(("values", "step"), [(np.rint, 1.0), (lambda z: np.rint(z * 10) / 10, 0.1)])
def test_rounded_elevations_are_a_note(kinds, values, step: float) -> None:
    found = kinds(values(forest()))["rounded"]
    assert found.values["step_m"] == step
    assert f"rounded to {step:g} m" in found.message
    assert "rounded" not in kinds(np.round(forest(), 2)), "centimeters are fine"


def test_integers_with_a_scale_of_centimeters_are_not_rounded(raster) -> None:
    import rasterio

    path = raster("dsm.tif", np.rint(forest() * 100), dtype="int32")
    with rasterio.open(path, "r+") as file:
        file.scales = (0.01,)
    with configure_gdal(), open_band(path) as band:
        assert check_raster(band, "dsm") == []


def test_zeros_far_below_the_land_may_mean_no_data(kinds) -> None:
    surface = forest()
    surface[:20] = 0
    found = kinds(surface)
    assert found.keys() == {"zeros"}
    found = found["zeros"]
    assert "say so with --nodata=0" in found.message
    assert found.values["fraction"] == pytest.approx(20 / 300)


def test_one_value_everywhere_is_a_note_by_itself(kinds) -> None:
    found = kinds(np.full((100, 100), 402, np.float32))
    assert found.keys() == {"one value"}
    assert found["one value"].severity == "note"


# --- stripes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["columns", "rows"])
def test_stripes_are_a_note_with_their_place(kinds, line: str) -> None:
    surface = forest()
    if line == "columns":
        surface[:, 200:] += 2
    else:
        surface[200:] += 2
    found = kinds(surface)["stripes"]
    assert found.severity == "note"
    assert f"steps between {line} in 1 of 1 windows" in found.message
    assert f"after {line[:-1]} 199: " in found.message
    assert found.values["size_m"] == pytest.approx(2, abs=0.5)


def test_stripes_in_one_window_of_many_are_found_there(kinds) -> None:
    surface = terrain(1100, 1100) + heights(1100, 1100)
    assert kinds(surface) == {}
    surface[512:1024, 700:] += 3
    surface[512:1024, 800:] -= 3
    surface[520:610, 600:690] = 300
    found = kinds(surface)
    assert found["stripes"].window == (512, 512, 512, 512)
    assert re.search("after column (699|799):", found["stripes"].message)
    assert "level, most in rows 512 to 1024, columns 512 to 1024: water" in found["level patches"].message


# --- pixel size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "trained", "severity", "would"),
    [
        (0.5, 1.0, "note", "expect a worse map; --resample brings it there"),
        (2.0, 1.0, "note", "expect a worse map$"),
        (4.0, 1.0, "note", "expect a worse map$"),
        (0.2, 1.0, "error", "more than 4 times apart.*--resample brings it there"),
        (5.0, 1.0, "error", "take a finer DSM, or a network trained on such pixels"),
    ],
)
def test_another_pixel_size_is_noted_and_one_too_far_off_refused(has, trained, severity, would) -> None:
    found = check_resolution(has, trained)
    assert found is not None
    assert found.severity == severity
    assert re.search(would, found.message)
    assert f"pixels of {has:g} m, the network learned at {trained:g} m" in found.message


@pytest.mark.parametrize(
    ("has", "severity", "would"),
    [
        (0.96, None, ""),
        (0.5, "note", "mapped at its own pixel size, which gives better maps than --resample"),
        (0.1, "note", "mapped at its own pixel size"),
        (0.05, "error", r"maps pixels down to 0.1 m. Add --resample --resolution 0.1"),
        (2.0, "note", "expect a worse map$"),
        (5.0, "error", "take a finer DSM"),
    ],
)
def test_finer_pixels_are_right_for_a_network_that_takes_them(has, severity, would) -> None:
    found = check_resolution(has, 1.0, finest=0.1)
    assert (found.severity if found else None) == severity
    assert re.search(would, found.message if found else "")


def test_pixel_sizes_that_differ_by_rounding_are_the_same() -> None:
    assert check_resolution(1.000002, 1.0) is None
    assert check_resolution(1.04, 1.0) is None


# --- what follows -----------------------------------------------------------------------------------------------------


def test_refusals_are_raised_together_unless_checks_are_skipped() -> None:
    found = [Finding(kind=k, severity=s, message=f"{k} is odd") for k, s in [("a", "error"), ("b", "note"), ("c", "error")]]
    with pytest.raises(DataError, match=r"^a is odd\nc is odd\nAdd --skip-checks to use the raster as it is$"):
        resolve_findings(found, skip=False)
    assert resolve_findings(found, skip=True) == ("a is odd", "b is odd", "c is odd")
    assert resolve_findings(found[1:2], skip=False) == ("b is odd",)
    assert resolve_findings([], skip=False) == ()


# --- real surveys -----------------------------------------------------------------------------------------------------


@pytest.mark.surveys
def test_no_real_dsm_is_refused_and_each_real_chm_is() -> None:
    severe = {}
    for path in sorted(SURVEYS.glob("*/[dc][sh]m.tif")):
        bare = path.parent.name.startswith(("br_ducke", "br_cauaxi"))
        with configure_gdal(), open_band(path, pixel_size_m=1.0 if bare else None) as band:
            found = [finding.kind for finding in check_raster(band, "dsm") if finding.severity == "error"]
        severe[path.parent.name, path.stem] = found
    assert [place for place, found in severe.items() if place[1] == "dsm" and found] == []
    assert [place for place, found in severe.items() if place[1] == "chm" and found != ["canopy heights"]] == []
    assert {layer for _, layer in severe} == {"dsm", "chm"}, "the folder of surveys holds both"
