from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import typer
from rasterio import Affine
from typer.testing import CliRunner

from forestgaps_core.errors import DataError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_core.output.counts import format_square_meters
from forestgaps_gaps.commands import gaps as commands

geopandas = pytest.importorskip("geopandas")


@pytest.fixture
def run():
    """Run the command as `forestgaps` would; mistakes of the user come out as errors."""
    app = typer.Typer()
    app.command()(commands.gaps)

    def call(*arguments: object):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_polygons_statistics_and_cells_of_several_thresholds(run, raster, wood, tmp_path) -> None:
    chm = raster("chm.tif", wood(80, 60))
    out, folder = tmp_path / "gaps.gpkg", tmp_path / "statistics"
    result = run(chm, "-t", 5, "-t", 10, "--out", out, "--statistics", folder, "--cells", 20, "--min-area", 2)
    assert result.exit_code == 0
    frame = geopandas.read_file(out, layer="gaps_5m")
    assert cells_of(result.stdout)["5 m"][:2] == [str(len(frame)), f"{frame.area_m2.sum():,.10g}"]
    assert "Gaps of at least 2 m2, 8 neighbors, 1 m pixels, 0.48 ha surveyed" in result.stdout
    assert "power-law" not in result.stdout, "only with --verbose"
    assert frame.area_m2.min() >= 2
    assert [name for name, _ in pyogrio.list_layers(out)] == ["gaps_5m", "gaps_10m"]
    for name in ("statistics.json", "cells_5m.tif", "cells_5m.csv", "cells_10m.tif", "cells_10m.csv"):
        assert f"wrote {folder / name}" in result.stdout
    summaries = json.loads((folder / "statistics.json").read_text())["gaps"]
    assert summaries["5 m"]["gap_area_m2"] == frame.area_m2.sum()
    with rasterio.open(folder / "cells_5m.tif") as cells:
        planes = dict(zip(cells.descriptions, cells.read(), strict=True))
        assert cells.shape == (4, 3)
        assert cells.crs.to_epsg() == 32610
    assert planes["gap_m2"].sum() == frame.area_m2.sum()
    assert planes["gaps"].sum() == len(frame)
    assert result.stderr == "", "no note: the minimum area was given"


def test_json_for_programs(run, raster, wood, tmp_path) -> None:
    out = tmp_path / "gaps.parquet"
    result = run(raster("chm.tif", wood(40, 40)), "-t", 8, "--at-most", "--connectivity", 4, "--out", out, "--json")
    told = json.loads(result.stdout)
    assert told["files"] == [str(out)]
    assert list(told["gaps"]) == ["8 m"]
    summary = told["gaps"]["8 m"]
    assert (summary["at_most"], summary["connectivity"], summary["threshold_m"]) == (True, 4, 8.0)
    assert result.stderr == ""


def test_a_gap_map_with_its_heights(run, raster, wood) -> None:
    height = wood(40, 40)
    mask = (height < 6).astype(np.uint8)
    arguments = (raster("gaps.tif", mask, nodata=255, descriptions=("gap at 6 m",)), "--chm", raster("chm.tif", height), "--json")
    from_map = json.loads(run(*arguments, "--min-area", 0).stdout)["gaps"]
    from_heights = json.loads(run(arguments[2], "-t", 6, "--json").stdout)["gaps"]
    assert from_map == from_heights


def cells_of(text: str) -> dict[str, list[str]]:
    """The rows of a printed table, by their first cell."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_gaps_of_a_map_leaves_out_noise_by_default_and_reports_it(run, raster) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2, 2] = mask[5, 5:7] = mask[9, 9:12] = mask[15:17, 15:17] = 1  # 1, 2, 3 and 4 m2
    path = raster("gaps.tif", mask, nodata=255, descriptions=("gap at 6 m",))
    result = run(path)
    assert cells_of(result.stdout)["6 m"][:2] == ["1", "4"]
    assert "note: gaps smaller than 4 m2 are left out as noise of the gap map. To keep them, add --min-area 0" in result.stderr
    every = run(path, "--min-area", 0)
    assert cells_of(every.stdout)["6 m"][:2] == ["4", "10"] and every.stderr == ""
    assert cells_of(run(path, "--max-area", 2).stdout)["6 m"][:2] == ["1", "2"], "never above the largest that is asked for"


def test_gaps_of_heights_keeps_every_pixel_by_default(run, raster) -> None:
    height = np.full((20, 20), 9.0, np.float32)
    height[2, 2] = height[5, 5:7] = 1.0
    result = run(raster("chm.tif", height), "-t", 6)
    assert cells_of(result.stdout)["6 m"][:2] == ["2", "3"] and result.stderr == ""


def test_gaps_verbose_prints_all_statistics(run, raster, wood) -> None:
    chm = raster("chm.tif", wood(40, 40))
    assert "shape index" in run(chm, "-t", 8, "--verbose").stdout
    assert "shape index" not in run(chm, "-t", 8).stdout


@pytest.mark.parametrize(
    ("area", "text"),
    [(None, "-"), (0.25, "0.25"), (8097.0, "8,097"), (1114.62, "1,114.6"), (212_500.0, "212,500"), (2e9, "2,000,000,000")],
)
def test_areas_are_never_in_powers_of_ten(area, text) -> None:
    assert format_square_meters(area) == text


def test_areas_below_a_square_meter_are_not_0(run, raster) -> None:
    height = np.full((20, 20), 9.0, np.float32)
    height[2, 2] = 1.0
    result = run(raster("chm.tif", height, transform=Affine(0.5, 0, 0, 0, -0.5, 0)), "-t", 6)
    assert cells_of(result.stdout)["6 m"] == ["1", "0.25", "0.25%", "0.25", "0.25", "0.25"]


def test_statistics_alone_go_to_a_file(run, raster, wood, tmp_path) -> None:
    run(raster("chm.tif", wood(40, 40)), "-t", 8, "--statistics", tmp_path / "all.json")
    told = json.loads((tmp_path / "all.json").read_text())
    assert told["raster"] == "chm.tif"
    assert told["gaps"]["8 m"]["gaps"] > 0


def test_voids_are_no_part_of_the_survey(run, raster, wood) -> None:
    height = wood(64, 64)
    height[:, :32] = np.nan
    summary = json.loads(run(raster("chm.tif", height), "-t", 8, "--json").stdout)["gaps"]["8 m"]
    assert summary["surveyed_m2"] == 64 * 32
    assert summary["gap_fraction"] == pytest.approx(np.nanmean(height[:, 32:] < 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--connectivity", 6), "8 neighbors, or 4"),
        (("--cells", 10), "are written to a folder"),
        (("--cells", 10, "--statistics", "x.json"), "are written to a folder"),
        (("--cells", 10.5, "--statistics", "x"), "Choose 10 or 11 m"),
        (("--min-area", 5, "--max-area", 2), "at most the largest area"),
        (("--out", "gaps.shp"), ".shp is not a format of polygons"),
    ],
)
def test_what_cannot_be_done_is_reported_before_anything_is_written(
    run, raster, wood, tmp_path, monkeypatch, arguments, message
) -> None:
    monkeypatch.chdir(tmp_path)
    chm = raster("chm.tif", wood(40, 40))
    with pytest.raises(DataError, match=message):
        run(chm, "-t", 8, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["chm.tif"]


def test_existing_statistics_are_noticed_before_the_work(run, raster, wood, tmp_path) -> None:
    (tmp_path / "statistics").mkdir()
    with pytest.raises(DataError, match="exists already"):
        run(raster("chm.tif", wood(40, 40)), "-t", 8, "--statistics", tmp_path / "statistics", "--out", tmp_path / "gaps.fgb")
    assert not (tmp_path / "gaps.fgb").exists()


def test_bands_that_cannot_be_distinguished_are_refused(run, raster, tmp_path) -> None:
    planes = np.stack([np.eye(5, dtype=np.uint8)] * 2)
    with pytest.raises(DataError, match="Choose one band"):
        run(raster("twins.tif", planes, descriptions=("gap at 5 m",) * 2))
    path = raster("nameless.tif", planes)
    with pytest.raises(DataError, match=r"cannot be distinguished in .*\.fgb"):
        run(path, "--out", tmp_path / "gaps.fgb")
    run(path, "--out", tmp_path / "gaps.gpkg")
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "gaps.gpkg")] == ["gaps_band1", "gaps_band2"]


def test_the_command_line_prints_a_sentence_and_leaves_with_2(tmp_path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "forestgaps_core", "gaps", str(tmp_path / "no.tif")], capture_output=True, text=True
    )
    assert found.returncode == 2
    assert "no such file" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("foot_m", [0.3048, 1200 / 3937])
def test_areas_of_pixels_in_feet_are_printed_without_noise(run, tmp_path, foot_m) -> None:
    code = "EPSG:32018" if foot_m > 0.3048 else "EPSG:2222"  # New York, US survey feet; Arizona, international feet
    mask = np.zeros((60, 60), np.uint8)
    mask[5:50, 5:50] = 1
    side = 3.28083333 * 0.3168  # of a pixel, feet
    profile = {"crs": code, "transform": Affine(side, 0, 700_000, 0, -side, 900_000), "dtype": "uint8", "nodata": 255}
    with rasterio.open(tmp_path / "map.tif", "w", driver="GTiff", width=60, height=60, count=1, **profile) as file:
        file.write(mask, 1)
        file.descriptions = ("gap at 5 m",)
    result = run(tmp_path / "map.tif", "--statistics", tmp_path / "out", "--cells", 20 * side * foot_m, "--verbose")
    numbers = re.findall(r"\d[\d,]*\.?\d*", result.stdout.replace(str(tmp_path), ""))
    assert all(len(number.replace(",", "").replace(".", "").lstrip("0")) <= 6 for number in numbers), numbers
    for line in (tmp_path / "out" / "cells_5m.csv").read_text().splitlines()[1:]:
        assert all(len(value.partition(".")[2].lstrip("0")) <= 7 for value in line.split(",")[4:]), line


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_statistics_survives(run, raster, wood, tmp_path, caplog) -> None:
    out = tmp_path / "statistics"
    leave_draft(out)
    assert run(raster("chm.tif", wood(40, 40)), "-t", 8, "--statistics", out, "--cells", 20).exit_code == 0
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
