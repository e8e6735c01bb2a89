"""Every command line that `gaps` and `change` print is executed, and the next command compared with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_gaps.change.comparison import ChangeOptions, compare_rasters
from forestgaps_gaps.detection.search import GapCriteria, GapSearch
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers
from forestgaps_geo.testing.gdal_commands import find_command, run_command

WEST, NORTH = 500_000, 5_300_000
GRID = Affine(1, 0, WEST, 0, -1, NORTH)
NEW_M2, STABLE = 25, 3
COS, SIN = np.cos(np.radians(15)), np.sin(np.radians(15))


def chm(*, later: bool = False) -> np.ndarray:
    """Three gaps at 5 m of 200, 30 and 3 pixels; later one more of 25."""
    heights = np.random.default_rng(0).uniform(15, 25, (120, 120)).astype("float32")
    heights[10:20, 10:30], heights[50:55, 60:66], heights[80:81, 80:83] = 1.0, 2.0, 0.5
    if later:
        heights[90:95, 90:95] = 1
    return heights


def write(path: Path, values: np.ndarray, **options: Any) -> Path:
    profile = {"crs": "EPSG:32632", "transform": GRID, "nodata": None, **options}
    planes = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **profile) as file:
        file.write(planes)
    return path


def compared(earlier: Path, later: Path, out: Path, **options: Any) -> dict[str, Any]:
    how = ChangeOptions(reading=ReadingOptions(thresholds=(5,), **options), criteria=GapCriteria())
    return compare_rasters(earlier, later, out, how).summaries[0]


def right(found: dict[str, Any]) -> bool:
    classes = found["classes"]
    areas = classes["new"]["new_m2"], found["new_m2"], found["closed_m2"]
    return classes["stable"]["changes"] == STABLE and areas == (NEW_M2, NEW_M2, 0)


def gap_m2(path: Path, **options: Any) -> tuple[float, float]:
    """Area of gaps, and of what was surveyed."""
    with open_layers(path, ReadingOptions(thresholds=(5,), **options)) as (layer,):
        search = GapSearch(layer)
        return float(search.find_all().area_m2.sum()), search.surveyed_m2


# --- extents that differ on one grid: the common extent is compared ---------------------------------------------------


@pytest.mark.parametrize(
    ("values", "corner"),
    [
        (chm(later=True)[5:, 7:], (7, 5)),
        (np.pad(chm(later=True), ((4, 9), (6, 2)), constant_values=1), (-6, -4)),
        (np.pad(chm(later=True)[5:], ((0, 9), (6, 0)), constant_values=1), (-6, 5)),
    ],
    ids=["smaller", "larger", "partly"],
)
@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:32632+5773", None])
def test_the_common_extent_of_one_grid_is_compared_with_a_note(tmp_path, values, corner, crs) -> None:
    given = {} if crs else {"pixel_size_m": 1.0}
    earlier = write(tmp_path / "earlier.tif", chm(), crs=crs and "EPSG:32632")
    place = Affine(1, 0, WEST + corner[0], 0, -1, NORTH - corner[1])
    later = write(tmp_path / "later.tif", values, transform=place, crs=crs)
    done = compare_rasters(earlier, later, tmp_path / "out", ChangeOptions(reading=ReadingOptions(thresholds=(5,), **given)))
    assert right(done.summaries[0])
    assert "differ in extent: only the common area is compared" in done.notes[0]
    back = compared(later, earlier, tmp_path / "back", **given)
    assert (back["closed_m2"], back["new_m2"]) == (NEW_M2, 0)


def test_surveys_of_other_places_do_not_overlap(tmp_path) -> None:
    earlier = write(tmp_path / "earlier.tif", chm())
    later = write(tmp_path / "later.tif", chm(), transform=Affine(1, 0, WEST + 120, 0, -1, NORTH))
    with pytest.raises(DataError, match="do not overlap"):
        compared(earlier, later, tmp_path / "out")


def test_rows_from_south_to_north_are_the_same_survey(tmp_path) -> None:
    earlier = write(tmp_path / "earlier.tif", chm())
    upside_down = Affine(1, 0, WEST, 0, 1, NORTH - 120)
    later = write(tmp_path / "later.tif", chm(later=True)[::-1], transform=upside_down)
    assert right(compared(earlier, later, tmp_path / "out"))
    with open_layers(later, ReadingOptions(thresholds=(5,))) as (layer,):
        assert GapSearch(layer).find_all().pixels.tolist() == [200, 30, 3, 25], "gaps are numbered from the north"


def test_vertical_parts_and_spellings_of_a_crs_do_not_matter(tmp_path) -> None:
    earlier, utm = write(tmp_path / "earlier.tif", chm()), rasterio.CRS.from_epsg(32632)
    for number, crs in enumerate(("EPSG:32632+5773", utm.to_wkt(version="WKT1_ESRI"), "+proj=utm +zone=32 +datum=WGS84 +units=m")):
        later = write(tmp_path / f"later{number}.tif", chm(later=True), crs=crs)
        assert right(compared(earlier, later, tmp_path / f"out{number}"))


# --- other grids: the printed line is executed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "declared", "options"),
    [
        ("later.tif", "float32", None, {}),
        ('a survey\'s "later" $(date).tif', "float32", -9999, {}),
        ("-later.tif", "int16", -1, {}),
        ("later.tif", "int16", None, {"nodata": -99}),
        ("later.tif", "uint8", None, {}),
    ],
)
def test_change_line_brings_a_shifted_raster_to_the_grid(tmp_path, monkeypatch, name, kind, declared, options) -> None:
    monkeypatch.chdir(tmp_path)
    marker = declared if declared is not None else options.get("nodata")
    values = chm(later=True)[:, :110].astype(kind)
    if marker is not None:
        values[100:110, 40:60] = marker
    earlier = write(Path("earlier.tif"), chm())
    later = write(Path(name), values, transform=Affine(1, 0, WEST + 0.25, 0, -1, NORTH - 0.25), nodata=declared)
    with pytest.raises(DataError, match="another grid") as refused:
        compared(earlier, later, Path("out"), **options)
    aligned = run_command(find_command(refused.value), tmp_path)
    found = compared(earlier, aligned, Path("out"), **options)
    assert right(found)
    assert found["surveyed_m2"] == 120 * 110 - (0 if marker is None else 200)


def test_change_line_adds_no_geoid_to_heights(tmp_path) -> None:
    x, y = transform("EPSG:32632", "EPSG:32633", [WEST], [NORTH])
    earlier = write(tmp_path / "earlier.tif", chm())
    turned = write(tmp_path / "later.tif", np.pad(chm(later=True), 40, constant_values=20), crs="EPSG:32633+5773",
                   transform=Affine(1, 0, x[0] - 40, 0, -1, y[0] + 40))  # fmt: skip
    with pytest.raises(DataError, match="another grid") as refused:
        compared(earlier, turned, tmp_path / "out")
    aligned = run_command(find_command(refused.value), tmp_path)
    with rasterio.open(aligned) as file:
        heights = file.read(1)
        assert (file.crs.to_epsg(), file.transform) == (32632, GRID)
    assert set(np.unique(heights)) <= {*np.unique(chm(later=True)), np.float32(20)}, "heights are those of the file"


def test_change_line_keeps_alpha_a_mask(tmp_path) -> None:
    alpha = np.full((120, 120), 255, "uint8")
    alpha[:, :8] = 0
    values = np.where(alpha > 0, chm(later=True), 0).astype("uint8")
    later = write(tmp_path / "later.tif", np.stack([values, alpha]), transform=Affine(1, 0, WEST + 0.25, 0, -1, NORTH))
    with rasterio.open(later, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    earlier = write(tmp_path / "earlier.tif", chm())
    with pytest.raises(DataError, match="another grid") as refused:
        compared(earlier, later, tmp_path / "out")
    found = compared(earlier, run_command(find_command(refused.value), tmp_path), tmp_path / "out")
    assert right(found)
    assert found["surveyed_m2"] == 120 * 112


def test_gaps_line_turns_a_rotated_raster(tmp_path) -> None:
    path = write(tmp_path / "turned.tif", chm(), transform=Affine(COS, SIN, WEST, SIN, -COS, NORTH))
    with pytest.raises(DataError, match="rotated") as refused:
        gap_m2(path)
    gap, surveyed = gap_m2(run_command(find_command(refused.value), tmp_path))
    assert surveyed == pytest.approx(120 * 120, rel=0.01)
    assert gap == pytest.approx(233, rel=0.05)


@pytest.mark.parametrize("declared", [None, -1.0])
def test_gaps_line_brings_degrees_to_meters(tmp_path, declared) -> None:
    (west,), (north,) = transform("EPSG:32632", "EPSG:4326", [WEST], [NORTH])
    across, down = 1 / 74_600, 1 / 111_200
    path = write(
        tmp_path / "degrees.tif", chm(), crs="EPSG:4326", transform=Affine(across, 0, west, 0, -down, north), nodata=declared
    )
    with pytest.raises(DataError, match="in degrees") as refused:
        gap_m2(path)
    gap, surveyed = gap_m2(run_command(find_command(refused.value), tmp_path))
    assert surveyed == pytest.approx(120 * 120, rel=0.02)
    assert gap == pytest.approx(233, rel=0.05)


def test_gaps_line_brings_heights_to_the_grid_of_a_map(tmp_path) -> None:
    gaps = write(tmp_path / "map.tif", (chm() < 5).astype("uint8"), nodata=255)
    heights = write(tmp_path / "chm.tif", chm(), transform=Affine(1, 0, WEST + 0.25, 0, -1, NORTH))
    with pytest.raises(DataError, match="another grid") as refused, open_layers(gaps, ReadingOptions(chm=heights)):
        pass
    with open_layers(gaps, ReadingOptions(chm=run_command(find_command(refused.value), tmp_path))) as (layer,):
        table = GapSearch(layer).find_all()
    assert table.height_mean.tolist() == pytest.approx([1.0, 2.0, 0.5])
