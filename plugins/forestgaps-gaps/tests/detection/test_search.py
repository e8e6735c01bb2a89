from __future__ import annotations

import subprocess
import sys
from math import inf

import numpy as np
import pytest
import shapely
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.search import GapCriteria, GapSearch
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers


def searched(path, step: int | None = None, level: float = 8, **criteria: object):
    with open_layers(path, ReadingOptions(thresholds=(level,))) as (layer,):
        search = GapSearch(layer, GapCriteria(**criteria), step)
        parts = list(search.iterate_parts())
        return search, parts


def test_strips_change_nothing(raster, wood) -> None:
    path = raster("chm.tif", wood(90, 70), transform=Affine(0.5, 0, 1000, 0, -0.5, 2000))
    whole, parts = searched(path)
    table, shapes = (
        whole.gaps,
        np.concatenate([some for _, some in parts])[np.argsort(np.concatenate([t.number for t, _ in parts]))],
    )
    assert len(whole.gaps) > 20
    for step in (1, 4, 33):
        search, parts = searched(path, step)
        assert search.surveyed_m2 == whole.surveyed_m2 == 90 * 70 / 4
        for name, values in search.gaps.columns().items():
            np.testing.assert_allclose(values, whole.gaps.columns()[name], rtol=1e-6, err_msg=name)
        by_number = {n: s for part, some in parts for n, s in zip(part.number, some, strict=True)}
        assert [by_number[n].wkb for n in table.number] == [shape.wkb for shape in shapes]


def test_polygons_belong_to_their_rows(raster, wood) -> None:
    _, parts = searched(raster("chm.tif", wood(60, 60), transform=Affine(2, 0, 1000, 0, -2, 2000)), 7)
    for table, shapes in parts:
        assert shapely.area(shapes).tolist() == table.area_m2.tolist()
        assert shapely.length(shapes).tolist() == table.perimeter_m.tolist()
        center = shapely.centroid(shapes)
        assert shapely.get_x(center) == pytest.approx(table.x)
        assert shapely.get_y(center) == pytest.approx(table.y)


def test_gaps_outside_the_limits_are_as_if_they_were_canopy(raster) -> None:
    height = np.full((12, 30), 20, np.float32)
    height[2:6, 2:6], height[3, 8], height[2:6, 20:24], height[8:11, 1:29] = 1, 1, 1, 1
    path = raster("chm.tif", height)
    search, _ = searched(path)
    assert search.gaps.area_m2.tolist() == [16, 16, 1, 84]
    assert search.gaps.nearest_m.tolist() == [2, 2, 2, 2]
    search, parts = searched(path, minimum_m2=2, maximum_m2=80)
    assert search.gaps.number.tolist() == [1, 2]
    assert search.gaps.area_m2.tolist() == [16, 16]
    assert search.gaps.nearest_m.tolist() == [14, 14]
    assert sum(len(shapes) for _, shapes in parts) == 2


def test_limits_are_areas_not_pixels() -> None:
    assert GapCriteria(minimum_m2=1, maximum_m2=2.4).count_pixels(0.25) == (4, 9)
    assert GapCriteria(minimum_m2=0.3, maximum_m2=0.3).count_pixels(0.1) == (3, 3)
    assert GapCriteria().count_pixels(1) == (1, None)
    for bad in ({"minimum_m2": 5, "maximum_m2": 4}, {"minimum_m2": -1}, {"minimum_m2": inf, "maximum_m2": 3}):
        with pytest.raises(DataError, match="must be at least 0 and at most"):
            GapCriteria(**bad).count_pixels(1)


def test_the_table_alone_is_the_same(raster, wood) -> None:
    path = raster("chm.tif", wood(40, 30))
    search, _ = searched(path)
    told = []
    with open_layers(path, ReadingOptions(thresholds=(8,))) as (layer,):
        table = GapSearch(layer, step=9, report=lambda *what: told.append(what)).find_all()
    for name, values in table.columns().items():
        np.testing.assert_allclose(values, search.gaps.columns()[name], rtol=1e-6, err_msg=name)
    assert told[-1] == ("gaps of 8 m", 120, 120)


def test_no_gap_at_all_is_an_empty_table(raster) -> None:
    search, parts = searched(raster("chm.tif", np.full((9, 9), 20, np.float32)))
    assert len(search.gaps) == 0
    assert parts == []
    assert search.surveyed_m2 == 81


# In a process of its own: other tests leave threads and caches that allocate too.
PEAKS = '''
import tracemalloc
import numpy as np
from attrs import define
from rasterio import Affine
from forestgaps_gaps.detection.search import GapSearch
from forestgaps_geo.grids.grid import Grid
from forestgaps_gaps.rasters.layers import Layer, Pixels

@define(eq=False)
class Endless(Layer):
    """A gap of 3 x 3 pixels in every 32 x 32, at any height of raster; nothing of it is stored."""

    def read_pixels(self, row: int, rows: int) -> Pixels:
        y, x = np.arange(row, row + rows)[:, None] % 32, np.arange(self.grid.columns) % 32
        gap = (y < 3) & (x < 3)
        return Pixels(gap, np.ones(gap.shape, bool), np.where(gap, 1, 20).astype(np.float32))

for rows in (2**7, 2**10, 2**13):  # the first imports and fills caches
    search = GapSearch(Endless(Grid(None, Affine.identity(), rows, 128), 5.0, False, "5 m"), step=256)
    tracemalloc.start()
    count = sum(len(table) for table, _ in search.iterate_parts())
    print(tracemalloc.get_traced_memory()[1], count)
    tracemalloc.stop()
'''


def test_memory_grows_with_the_gaps_and_not_with_the_raster() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    _, _, low, few, high, many = map(int, done.stdout.split())
    assert (few, many) == (2**7, 2**10)
    assert high - low < 1000 * (many - few), "a kilobyte for each further gap at most"
    assert high < 128 * 2**13 * 4, "the heights alone would take this"
