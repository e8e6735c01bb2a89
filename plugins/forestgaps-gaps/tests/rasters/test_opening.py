from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from forestgaps_core.errors import DataError
from forestgaps_gaps.rasters.layers import HeightLayer, MapLayer
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers

HEIGHTS = np.array([[0.5, 5, 12], [4.9, np.nan, 30]], np.float32)
MASK = np.array([[1, 0, 255], [0, 1, 1]], np.uint8)


@contextmanager
def read(path: Path, **options: object):
    with open_layers(path, ReadingOptions(**options)) as found:
        yield found


def whole(layer):
    return layer.read_pixels(0, layer.grid.rows)


def test_heights_below_a_threshold_are_gap(raster) -> None:
    path = raster("chm.tif", HEIGHTS, nodata=-9999.0)
    with read(path, thresholds=(12, 5)) as (low, high):
        assert isinstance(low, HeightLayer)
        assert (low.threshold_m, high.threshold_m, low.name) == (5, 12, "5 m")
        assert whole(low).gap.tolist() == [[True, False, False], [True, False, False]]
        assert whole(high).gap.tolist() == [[True, True, False], [True, False, False]]
        assert whole(low).valid.tolist() == [[True] * 3, [True, False, True]]
        assert np.array_equal(whole(low).height, HEIGHTS, equal_nan=True)
    with read(path, thresholds=(5,), at_most=True) as (layer,):
        assert whole(layer).gap.tolist() == [[True, True, False], [True, False, False]]


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_threshold_is_rounded_as_heights_are(raster, kind) -> None:
    path = raster("chm.tif", np.array([[0.1, 0.2]], kind))
    with read(path, thresholds=(0.1,), at_most=True) as (layer,):
        assert whole(layer).gap.tolist() == [[True, False]]


def test_stated_and_written_nodata_are_no_gap(raster) -> None:
    path = raster("chm.tif", np.array([[-99, 3, 8]], np.float32))
    with read(path, thresholds=(5,), nodata=-99) as (layer,):
        assert whole(layer).valid.tolist() == [[False, True, True]]
        assert whole(layer).gap.tolist() == [[False, True, False]]


def test_whole_numbers_with_a_scale_are_heights(raster) -> None:
    import rasterio

    path = raster("chm.tif", np.array([[12, 55, 260, 2]], np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1,), (0.0,)
    with read(path, thresholds=(5.5,)) as (layer,):
        assert whole(layer).gap.tolist() == [[True, False, False, True]]


def test_a_gap_map_is_taken_as_it_is(raster) -> None:
    with read(raster("gaps.tif", MASK)) as (layer,):
        assert isinstance(layer, MapLayer)
        pixels = whole(layer)
        assert np.isnan(layer.threshold_m)
        assert pixels.gap.tolist() == [[True, False, False], [False, True, True]]
        assert pixels.valid.tolist() == [[True, True, False], [True, True, True]]
        assert pixels.height is None


@pytest.mark.parametrize(
    ("values", "nodata"),
    [
        (MASK.astype("float32"), 255.0),
        (np.where(MASK == 255, -1, MASK).astype("int8"), -1),
        (np.where(MASK == 1, 1, 0).astype("uint8"), 0),
    ],
)
def test_gap_maps_of_other_programs_are_read(raster, values, nodata) -> None:
    with read(raster("gaps.tif", values, nodata=nodata)) as (layer,):
        assert whole(layer).gap.tolist() == (MASK == 1).tolist()
        assert whole(layer).valid.all() == (nodata == 0), "a mask whose 0 is not to be drawn was surveyed there"


def test_bands_of_a_prediction_are_thresholds(raster) -> None:
    planes = np.stack([MASK, np.ones_like(MASK)])
    path = raster("gaps.tif", planes, nodata=255, descriptions=("gap at 2 m", "gap at 7.5 m"))
    with read(path) as found:
        assert [(layer.threshold_m, layer.name) for layer in found] == [(2, "2 m"), (7.5, "7.5 m")]
    with read(path, thresholds=(7.5,)) as (layer,):
        assert whole(layer).gap.all()
    with read(path, band=1) as (layer,):
        assert layer.threshold_m == 2
    with pytest.raises(DataError, match=r"fixed thresholds \(2 m, 7.5 m\), which do not include 5 m"), read(path, thresholds=(5,)):
        pass
    with pytest.raises(DataError, match="no band 3; there are bands 1 to 2"), read(path, band=3):
        pass


def test_a_chm_beside_a_map_gives_heights(raster) -> None:
    gaps, chm = raster("gaps.tif", MASK), raster("chm.tif", HEIGHTS, nodata=-9999.0)
    with read(gaps, chm=chm) as (layer,):
        assert np.array_equal(whole(layer).height, HEIGHTS, equal_nan=True)
    with pytest.raises(DataError, match="another grid"), read(gaps, chm=raster("other.tif", np.zeros((3, 3), np.float32))):
        pass
    with pytest.raises(DataError, match="contains heights"), read(chm, chm=chm, thresholds=(5,)):
        pass


@pytest.mark.parametrize(
    ("values", "profile", "options", "message"),
    [
        (HEIGHTS, {"nodata": -9999.0}, {}, "contains heights and is not a gap map. Add height thresholds"),
        (np.stack([HEIGHTS, HEIGHTS]), {}, {"thresholds": (5,)}, "2 bands of heights"),
        (HEIGHTS, {"unit": "fathom"}, {"thresholds": (5,)}, "heights are in fathom. Add --scale FACTOR"),
        (HEIGHTS + 300, {}, {"thresholds": (5,)}, "seems to hold elevations"),
        (np.where(np.isnan(HEIGHTS), -9999, HEIGHTS), {}, {"thresholds": (5,)}, r"-9999 in row 1, column 1.*--nodata=-9999"),
        (np.array([[0, 255]], np.uint8), {}, {}, "unclear which value means gap"),
        (MASK, {"descriptions": ("gap probability at 5 m",)}, {}, "contains probabilities"),
        (MASK.astype("complex64"), {}, {}, "real numbers"),
        (HEIGHTS, {}, {"thresholds": (float("nan"),)}, "heights in meters"),
    ],
)
def test_open_layers_of_unusable_rasters_is_an_error(raster, values, profile, options, message) -> None:
    path = raster("wrong.tif", values, **profile)
    with pytest.raises(DataError, match=message) as error, read(path, **options) as found:
        whole(found[0])
    assert "wrong.tif" in str(error.value) or "threshold" in str(error.value)


def test_read_gap_names_an_unexpected_value_of_a_map(raster) -> None:
    values = np.zeros((2000, 600), np.uint8)
    values[999, 123] = 7  # where no sample is read
    with (
        read(raster("gaps.tif", values, descriptions=("gap at 5 m",))) as (layer,),
        pytest.raises(DataError, match="7 in row 999, column 123"),
    ):
        layer.read_gap(900, 200)


def test_open_layers_of_other_files_is_an_error(tmp_path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    for path, message in (
        (tmp_path / "none.tif", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.tif", "not a readable raster"),
    ):
        with pytest.raises(DataError, match=message), read(path):
            pass


def test_read_gap_of_a_damaged_file_is_an_error(raster) -> None:
    path = raster("chm.tif", np.random.default_rng(0).random((400, 400)).astype(np.float32), compress="deflate")
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(DataError, match=r"chm\.tif"), read(path, thresholds=(5,)) as (layer,):
        layer.read_gap(0, 400)
