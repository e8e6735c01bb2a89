from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import typer
from rasterio import Affine
from typer.testing import CliRunner

from forestgaps_core.errors import DataError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_gaps.change.classes import CLASSES
from forestgaps_gaps.change.comparison import ChangeOptions, compare_rasters
from forestgaps_gaps.commands.change import change, format_changes
from forestgaps_gaps.detection.search import GapCriteria
from forestgaps_gaps.rasters.opening import ReadingOptions

TRANSFORM = Affine(0.5, 0, 1_600_000, 0, -0.5, 5_300_000)
FIVE = ReadingOptions(thresholds=(5.0,))


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run the command as `forestgaps` would; mistakes of the user come out as errors."""
    app = typer.Typer()
    app.command()(change)

    def call(*arguments: object) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def raster(name: str, values: np.ndarray, *, description: str = "", **profile: Any) -> Path:
        settings = {"crs": "EPSG:2193", "transform": TRANSFORM, "nodata": -9999.0, "dtype": "float32", **profile}
        size = {"height": values.shape[0], "width": values.shape[1], "count": 1}
        with rasterio.open(tmp_path / name, "w", driver="GTiff", **size, **settings) as file:
            file.write(values.astype(settings["dtype"]), 1)
            if description:
                file.descriptions = (description,)
        return tmp_path / name

    return raster


@pytest.fixture
def dates(write) -> tuple[Path, Path]:
    """A forest of 20 m in which holes open and close; a corner was not surveyed at each date."""
    random = np.random.default_rng(0)
    heights = []
    for _ in range(2):
        height = random.normal(20, 1, (60, 80))
        for row, column in random.integers(0, 55, (25, 2)):
            height[row : row + random.integers(1, 9), column : column + random.integers(1, 9)] = 2
        heights.append(height)
    heights[1][30:, :40] = np.where(heights[0][30:, :40] < 5, 2, heights[1][30:, :40])
    heights[0][:10, :10] = heights[1][-10:, -10:] = -9999
    return write("earlier.tif", heights[0]), write("later.tif", heights[1])


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_agree(run, dates, tmp_path) -> None:
    result = run(*dates, "-t", 5, "-t", 25, "--out", tmp_path / "out", "--json", "--min-area", 1)
    told = json.loads(result.stdout)
    assert [Path(path).name for path in told["files"]] == [
        "changes_25m.csv",
        "changes_5m.csv",
        "gaps.gpkg",
        "summary.json",
        "transitions_25m.tif",
        "transitions_5m.tif",
    ]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["thresholds"] == told["thresholds"]
    summary = told["thresholds"][0]
    assert summary["threshold_m"] == 5
    kinds = read(tmp_path / "out" / "transitions_5m.tif")
    earlier, later = (read(path) for path in dates)
    known = (earlier != -9999) & (later != -9999)
    assert np.array_equal(kinds == 255, ~known)
    assert summary["surveyed_m2"] == known.sum() / 4
    assert summary["both_m2"] == (kinds == 1).sum() / 4
    assert summary["new_m2"] == (kinds == 2).sum() / 4
    assert summary["closed_m2"] == (kinds == 3).sum() / 4
    assert summary["earlier"]["gap_m2"] == summary["both_m2"] + summary["closed_m2"]
    changes = rows_of(tmp_path / "out" / "changes_5m.csv")
    for name, values in summary["classes"].items():
        of_class = [row for row in changes if row["class"] == name]
        assert values["changes"] == len(of_class)
        for key in ("earlier_m2", "later_m2", "new_m2", "closed_m2"):
            assert values[key] == sum(float(row[key]) for row in of_class)
    assert sum(values["new_m2"] for values in summary["classes"].values()) == summary["new_m2"]
    assert sum(values["closed_m2"] for values in summary["classes"].values()) == summary["closed_m2"]


def test_polygons_of_both_dates_carry_their_class(run, dates, tmp_path) -> None:
    run(*dates, "-t", 5, "--out", tmp_path / "out", "--min-area", 2)
    changes = {int(row["change"]): row for row in rows_of(tmp_path / "out" / "changes_5m.csv")}
    names = [name for name, _ in pyogrio.list_layers(tmp_path / "out" / "gaps.gpkg")]
    assert names == ["earlier 5 m", "later 5 m"]
    for when, absent in (("earlier", "new"), ("later", "closed")):
        meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "out" / "gaps.gpkg", layer=f"{when} 5 m")
        columns = dict(zip(meta["fields"], fields, strict=True))
        shapes = shapely.from_wkb(geometry)
        assert shapely.is_valid(shapes).all()
        assert shapely.area(shapes) == pytest.approx(columns["area_m2"])
        assert meta["crs"] == "EPSG:2193"
        assert set(columns["class"]) <= set(CLASSES) - {absent}
        assert columns["area_m2"].min() >= 2
        for number, row in changes.items():
            mine = columns["change"] == number
            assert mine.sum() == int(row[f"{when}_gaps"])
            assert columns["area_m2"][mine].sum() == float(row[f"{when}_m2"])
            assert columns["other_date_m2"][mine].sum() == float(row["both_m2"])
            assert set(columns["class"][mine]) <= {row["class"]}


def test_words_for_people(run, dates, tmp_path) -> None:
    options = ["-t", 5, "--out", tmp_path / "out", "--dates", "2015-01-01", "2020-01-01"]
    result = run(*dates, *options)
    assert "canopy below 5 m, of at least 0.25 m2, 8 neighbors, 0.5 m pixels: 0.115 ha surveyed at both dates" in result.stdout
    assert "per year, over 5.00 years" in result.stdout
    assert "grown" in result.stdout and "closed" in result.stdout
    assert f"wrote {tmp_path / 'out' / 'transitions_5m.tif'}" in result.stdout
    assert "cannot have changed" in result.stderr, "change of method looks like change"


def test_figures_per_year(dates, tmp_path) -> None:
    from datetime import date

    how = ChangeOptions(reading=FIVE, dates=(date(2015, 7, 1), date(2019, 7, 1)))
    summary = compare_rasters(*dates, tmp_path / "out", how).summaries[0]
    canopy = summary["surveyed_m2"] - summary["earlier"]["gap_m2"]
    assert summary["years"] == pytest.approx(4, abs=0.01)
    assert summary["per_year"]["canopy_opened"] == pytest.approx(summary["new_m2"] / canopy / summary["years"])
    assert summary["per_year"]["gap_closed"] == pytest.approx(
        summary["closed_m2"] / summary["earlier"]["gap_m2"] / summary["years"]
    )


@pytest.mark.parametrize("step", [1, 7, 60])
def test_the_way_of_reading_changes_no_byte(dates, tmp_path, step) -> None:
    whole = compare_rasters(*dates, tmp_path / "whole", ChangeOptions(reading=FIVE))
    strips = compare_rasters(*dates, tmp_path / "strips", ChangeOptions(reading=FIVE, step=step))
    assert whole.summaries == strips.summaries
    for name in ("transitions_5m.tif", "changes_5m.csv", "summary.json"):
        one, other = ((tmp_path / folder / name) for folder in ("whole", "strips"))
        assert np.array_equal(read(one), read(other)) if name.endswith("tif") else one.read_text() == other.read_text()
    one, other = (pyogrio.raw.read(tmp_path / folder / "gaps.gpkg", layer="later 5 m") for folder in ("whole", "strips"))
    order = [np.argsort(found[3][list(found[0]["fields"]).index("number")]) for found in (one, other)]
    for a, b in zip(one[3], other[3], strict=True):
        assert np.array_equal(a[order[0]], b[order[1]], equal_nan=a.dtype.kind == "f")


def test_gap_maps_are_compared_as_they_are(dates, write, tmp_path) -> None:
    maps = []
    for path in dates:
        height = read(path)
        gap = np.where(height == -9999, 255, height < 5)
        maps.append(write(f"map_{path.name}", gap, dtype="uint8", nodata=255, description="gap at 5 m"))
    from_maps = compare_rasters(*maps, tmp_path / "maps", ChangeOptions())
    from_heights = compare_rasters(*dates, tmp_path / "heights", ChangeOptions(reading=FIVE))
    assert from_maps.summaries == from_heights.summaries
    assert len(from_maps.notes) == 1, "maps tell nothing on heights"
    mixed = compare_rasters(maps[0], dates[1], tmp_path / "mixed", ChangeOptions(reading=FIVE))
    assert mixed.summaries == from_heights.summaries


def test_transitions_open_in_colors_of_their_own(dates, tmp_path) -> None:
    compare_rasters(*dates, tmp_path / "out", ChangeOptions(reading=FIVE))
    with rasterio.open(tmp_path / "out" / "transitions_5m.tif") as file:
        assert file.nodata == 255
        assert file.colormap(1)[2] == (213, 94, 0, 255)
        assert file.tags()["value_3"] == "closed gap"
        assert file.transform == TRANSFORM
        assert "5 m" in file.descriptions[0]


def test_heights_missing_below_a_threshold_at_one_date_are_reported(write, tmp_path) -> None:
    random = np.random.default_rng(1)
    height = random.uniform(0, 28, (200, 200))
    lifted = np.where((height % 5 > 4.5) & (random.random(height.shape) < 0.6), np.ceil(height / 5) * 5 + 0.01, height)
    one, other = write("even.tif", height), write("layered.tif", lifted)
    notes = compare_rasters(one, other, tmp_path / "out", ChangeOptions(reading=FIVE)).notes
    assert len(notes) == 2
    assert "layered.tif: heights just below 5, 10, 15, 20, 25 m are rarer" in notes[1]
    assert len(compare_rasters(other, other, tmp_path / "same", ChangeOptions(reading=FIVE)).notes) == 1


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_other_grids_are_refused_with_what_would_do(dates, write, tmp_path) -> None:
    moved = write("moved.tif", read(dates[1]), transform=Affine(0.5, 0, 1_600_000.2, 0, -0.5, 5_300_000))
    with pytest.raises(DataError, match="has another grid") as refused:
        compare_rasters(dates[0], moved, tmp_path / "out", ChangeOptions(reading=FIVE))
    line = f"gdalwarp -te 1600000 5299970 1600040 5300000 -ts 80 60 -r near -dstnodata -9999 {moved}"
    assert line in str(refused.value), "the paths are those that were given"
    coarse = write("coarse.tif", read(dates[1])[::2, ::2], transform=Affine(1, 0, 1_600_000, 0, -1, 5_300_000))
    with pytest.raises(DataError, match="40 x 30 pixels"):
        compare_rasters(dates[0], coarse, tmp_path / "out", ChangeOptions(reading=FIVE))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:2193", Affine(1, 0, 1_700_000, 0, -1, 5_300_000)),  # other pixels
        ("EPSG:2193", Affine(0.5, 0, 1_600_000.2, 0, -0.5, 5_200_000)),  # half a pixel off, 100 km south
        ("EPSG:32610", Affine(1, 0, 527_255, 0, -1, 5_233_373)),  # another CRS, on another continent
    ],
)
def test_rasters_of_two_places_are_refused_without_a_gdalwarp_line(dates, write, tmp_path, crs, transform) -> None:
    elsewhere = write("elsewhere.tif", read(dates[1]), crs=crs, transform=transform)
    with pytest.raises(DataError, match="do not overlap") as refused:
        compare_rasters(dates[0], elsewhere, tmp_path / "out", ChangeOptions(reading=FIVE))
    assert "gdalwarp" not in str(refused.value)


def test_other_thresholds_are_refused(dates, write, tmp_path) -> None:
    gap = (read(dates[1]) < 10).astype("uint8")
    other = write("map.tif", gap, dtype="uint8", nodata=255, description="gap at 10 m")
    same = write("map5.tif", gap, dtype="uint8", nodata=255, description="gap at 5 m")
    with pytest.raises(DataError, match=r"has gaps at 5 m, .*map.tif at 10 m"):
        compare_rasters(same, other, tmp_path / "out", ChangeOptions())


def test_nothing_is_overwritten_and_nothing_is_left_behind(run, dates, tmp_path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="no such file"):
        run(dates[0], tmp_path / "absent.tif", "-t", 5, "--out", tmp_path / "new" / "out")
    (tmp_path / "broken.tif").write_bytes(dates[1].read_bytes()[:6000])
    with pytest.raises(DataError):
        run(dates[0], tmp_path / "broken.tif", "-t", 5, "--out", tmp_path / "new" / "out")
    (tmp_path / "broken.tif").unlink()
    with pytest.raises(DataError, match="exists already"):
        run(*dates, "-t", 5, "--out", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dates", "2020-01-01", "2015-01-01"], "must be after the earlier one"),
        (["--dates", "2020", "2021-01-01"], "'2020' is not a date. Write it as 2019-03-01"),
        (["--connectivity", 6], "--connectivity 6"),
        (["--min-area", 10, "--max-area", 5], "at most the largest area"),
    ],
)
def test_mistakes_are_sentences(run, dates, tmp_path, options, sentence) -> None:
    with pytest.raises(DataError, match=sentence):
        run(*dates, "-t", 5, "--out", tmp_path / "out", *options)
    with pytest.raises(DataError, match="Give a name such as"):
        run(*dates, "-t", 5, "--out", tmp_path / "out.gpkg")
    assert not (tmp_path / "out").exists()


def test_a_forest_without_gaps_has_words_too(write, tmp_path) -> None:
    path = write("closed.tif", np.full((10, 12), 25.0))
    done = compare_rasters(path, path, tmp_path / "out", ChangeOptions(reading=FIVE, criteria=GapCriteria(maximum_m2=50)))
    said = format_changes(done.summaries[0])
    assert "at most 50 m2" in said[0]
    assert "earlier: 0 gaps, 0 m2 (0.00%)" in said[1]
    assert rows_of(tmp_path / "out" / "changes_5m.csv") == []


@pytest.mark.parametrize("crs", ["EPSG:2193+7839", "EPSG:26910+5703", "EPSG:26910+6360"])
def test_surveys_with_a_vertical_crs_are_compared_and_the_map_has_none(write, tmp_path, crs) -> None:
    unit_m = 1200 / 3937 if crs.endswith("6360") else 1.0
    place = {"crs": crs, "transform": Affine(1, 0, 500_000, 0, -1, 5_200_000)} if "26910" in crs else {"crs": crs}
    heights = np.full((30, 40), 20.0)
    heights[5:10, 5:10] = 2
    later = heights.copy()
    later[20:24, 20:25] = 1
    surveys = write("earlier.tif", heights / unit_m, **place), write("later.tif", later / unit_m, **place)
    done = compare_rasters(*surveys, tmp_path / "out", ChangeOptions(reading=FIVE))
    assert done.summaries[0]["new_m2"] == pytest.approx(20 * done.summaries[0]["resolution_m"] ** 2)
    with rasterio.open(tmp_path / "out" / "transitions_5m.tif") as file:
        assert file.crs.to_epsg() == int(crs[5:].split("+")[0])
        assert file.units == (None,)


def test_surveys_without_a_common_pixel_with_data_are_noted(write, tmp_path) -> None:
    forest = np.full((20, 30), 20.0)
    surveys = write("earlier.tif", forest), write("later.tif", np.full((20, 30), -9999.0))
    done = compare_rasters(*surveys, tmp_path / "out", ChangeOptions(reading=FIVE))
    assert any("no pixel has data at both dates" in note for note in done.notes)


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_a_change_survives(dates, tmp_path, caplog) -> None:
    out = tmp_path / "out"
    leave_draft(out)
    files = compare_rasters(*dates, out, ChangeOptions(reading=FIVE)).files
    assert [path.name for path in files] == ["changes_5m.csv", "gaps.gpkg", "summary.json", "transitions_5m.tif"]
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
