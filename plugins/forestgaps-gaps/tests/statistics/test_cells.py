from __future__ import annotations

import csv

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.gap_table import GapTable, get_column_dtype, list_column_names
from forestgaps_gaps.statistics.cells import BAND_MEANINGS, CellCounts, count_pixels_per_side, write_cell_table, write_cells
from forestgaps_geo.gap_labeling import label_array

TRANSFORM = Affine(0.5, 0, 600_000, 0, -0.5, 5_300_000)


def table_of(gap: np.ndarray, pixel_m2: float) -> GapTable:
    """Numbers, areas and centroids of the gaps of a mask; the rest is zero."""
    labels = label_array(gap)
    count = int(labels.max(initial=0))
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    columns = {name: np.zeros(count, get_column_dtype(name)) for name in list_column_names()}
    columns |= {"number": np.arange(1, count + 1), "pixels": pixels, "area_m2": pixels * pixel_m2}
    for name, places in zip(("row", "column"), np.indices(gap.shape), strict=True):
        columns[name] = np.bincount(labels.ravel(), weights=places.ravel() + 0.5, minlength=count + 1)[1:] / pixels
    return GapTable(threshold_m=5.0, **columns)


def survey(rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights with noise where there is no data, and where that is; gap below 5 m."""
    random = np.random.default_rng(seed)
    valid = random.random((rows, columns)) < 0.9
    height = np.where(valid, random.normal(8, 5, (rows, columns)), np.nan)
    return height, valid, valid & (height < 5)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 45), st.integers(1, 12), st.integers(1, 40))
def test_sums_over_cells_are_the_totals_however_it_is_read(seed, rows, columns, side, step) -> None:
    height, valid, gap = survey(rows, columns, seed)
    table = table_of(gap, 0.25)
    counts = CellCounts(rows, columns, 0.5, side * 0.5)
    for row in range(0, rows, step):
        part = slice(row, row + step)
        counts.add(row, gap[part], valid[part], height[part])
    bands = counts.make_cells(table).bands
    assert tuple(bands) == tuple(BAND_MEANINGS)
    assert bands["surveyed_m2"].sum() == valid.sum() * 0.25
    assert bands["gap_m2"].sum() == gap.sum() * 0.25 == pytest.approx(table.area_m2.sum())
    assert bands["gaps"].sum() == len(table)
    assert bands["largest_m2"].max() == table.area_m2.max(initial=0)
    assert np.nansum(bands["gap_fraction"] * bands["surveyed_m2"]) == pytest.approx(bands["gap_m2"].sum())
    assert np.nansum(bands["height_mean"] * bands["surveyed_m2"]) == pytest.approx(height[valid].sum() * 0.25)
    assert np.array_equal(np.isnan(bands["gap_fraction"]), bands["surveyed_m2"] == 0)


def test_each_cell_is_that_of_slow_plain_lines() -> None:
    height, valid, gap = survey(23, 31, 1)
    table = table_of(gap, 1.0)
    counts = CellCounts(23, 31, 1.0, 10.0)
    counts.add(0, gap, valid, height)
    bands = counts.make_cells(table).bands
    assert bands["gaps"].shape == (3, 4)
    for r in range(3):
        for c in range(4):
            part = (slice(10 * r, 10 * r + 10), slice(10 * c, 10 * c + 10))
            here = (table.row // 10 == r) & (table.column // 10 == c)
            assert bands["gap_fraction"][r, c] == gap[part].sum() / valid[part].sum()
            assert bands["height_mean"][r, c] == pytest.approx(np.nanmean(height[part]))
            assert bands["gaps"][r, c] == here.sum()
            assert bands["largest_m2"][r, c] == table.area_m2[here].max(initial=0)


def test_without_heights_there_is_no_mean_height() -> None:
    counts = CellCounts(4, 4, 1.0, 2.0)
    counts.add(0, np.ones((4, 4), bool), np.ones((4, 4), bool))
    assert "height_mean" not in counts.make_cells(table_of(np.ones((4, 4), bool), 1.0)).bands


def test_pixels_called_gap_without_data_count_nowhere() -> None:
    counts = CellCounts(2, 2, 1.0, 2.0)
    counts.add(0, np.ones((2, 2), bool), np.array([[True, False], [False, False]]))
    assert counts.make_cells(table_of(np.zeros((2, 2), bool), 1.0)).bands["gap_m2"].tolist() == [[1.0]]


def test_cells_are_whole_pixels() -> None:
    assert count_pixels_per_side(100, 0.5) == 200
    assert count_pixels_per_side(30, 0.3) == 100
    with pytest.raises(DataError, match=r"100 m are not a whole number of pixels of 0.3 m. Choose 99.9 or 100.2 m"):
        count_pixels_per_side(100, 0.3)
    with pytest.raises(DataError, match="Choose 1 m"):
        count_pixels_per_side(0.4, 1.0)


def make_example() -> tuple:
    height, valid, gap = survey(25, 37, 2)
    valid[:10, :10] = False
    counts = CellCounts(25, 37, 0.5, 5.0)
    counts.add(0, gap & valid, valid, height)
    return counts.make_cells(table_of(gap & valid, 0.25)), gap & valid


def test_the_raster_of_cells_lies_on_the_pixels_and_names_its_bands(tmp_path) -> None:
    cells, gap = make_example()
    write_cells(cells, tmp_path / "cells.tif", crs=CRS.from_epsg(2193), transform=TRANSFORM, threshold_m="5")
    with rasterio.open(tmp_path / "cells.tif") as file:
        assert file.transform == Affine(5, 0, 600_000, 0, -5, 5_300_000)
        assert file.crs.to_epsg() == 2193
        assert file.descriptions == tuple(BAND_MEANINGS)
        assert file.tags()["threshold_m"] == "5" and file.tags()["cell_m"] == "5"
        assert file.tags(3)["meaning"] == "area of gaps over surveyed area"
        assert file.read(2).sum() == gap.sum() * 0.25
        assert np.isnan(file.read(3)[0, 0]) and np.isnan(file.nodata)


def test_the_table_agrees_and_has_no_value_where_there_is_none(tmp_path) -> None:
    cells, _ = make_example()
    write_cell_table(cells, tmp_path / "cells.csv", transform=TRANSFORM)
    with (tmp_path / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4
    assert (rows[0]["x"], rows[0]["y"], rows[0]["gap_fraction"]) == ("600002.5", "5299997.5", "")
    shares = [float(row["gap_fraction"]) for row in rows[1:]]
    assert shares == pytest.approx(cells.bands["gap_fraction"].ravel()[1:])
    with pytest.raises(FileExistsError):
        write_cell_table(cells, tmp_path / "cells.csv", transform=TRANSFORM)
