from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from rasterio import Affine
from small_network import small
from torch import nn

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.target_grid import choose_target_grid
from forestgaps_rasters.prediction.block_mapper import (
    PROBABILITY_STEPS,
    BlockMapper,
    DsmReader,
    get_context_pixels,
    hash_predictor,
    preserve_torch_threads,
)
from forestgaps_rasters.prediction.window_grid import WindowGrid
from forestgaps_rasters.sources.mosaics import make_source


def terrain(rows: int = 300, columns: int = 260) -> np.ndarray:
    random = np.random.default_rng(4)
    surface = random.normal(404, 8, (rows, columns)).astype(np.float32)
    surface[random.random(surface.shape) < 0.1] = np.nan
    surface[:140, :140] = np.nan
    return surface


@pytest.fixture
def mapper(raster):
    source = make_source([raster("dsm.tif", terrain())])
    with source.open() as band:
        grid = band.grid
    made = BlockMapper(small(), DsmReader(source, grid, False), WindowGrid.create(300, 260, 128, 64), (2.0, 5.0))
    yield made
    made.close()


def test_a_block_is_what_the_network_says_of_its_window(mapper) -> None:
    window_grid, surface = mapper.window_grid, terrain()
    (top, bottom), (left, right) = window_grid.down.get_read_range(2), window_grid.right.get_read_range(1)
    (first, last), (begin, end) = window_grid.down.get_kept_range(2), window_grid.right.get_kept_range(1)
    window = torch.from_numpy(surface[top:bottom, left:right])[None, None]
    probabilities = mapper.predictor(window.nan_to_num(), window.isfinite(), (2.0, 5.0))[0]
    expected = np.where(window[0].isfinite(), np.rint(probabilities.numpy() * PROBABILITY_STEPS), 255)
    found = mapper((2, 1))
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected[:, first - top : last - top, begin - left : end - left])


def test_a_block_does_not_depend_on_what_was_computed_before_nor_where(mapper) -> None:
    alone = mapper((2, 2))
    other = pickle.loads(pickle.dumps(mapper))
    for item in mapper.window_grid:
        other(item)
    assert np.array_equal(other((2, 2)), alone)
    with preserve_torch_threads():
        torch.set_num_threads(2)
        assert np.array_equal(other((2, 2)), alone)
    other.close()


def test_a_block_without_data_is_none_and_the_network_is_not_asked(mapper) -> None:
    mapper.predictor = None
    assert mapper((0, 0)) is None


def test_threads_share_a_mapper(mapper) -> None:
    from forestgaps_rasters.work.executors import ThreadExecutor

    one = dict(ThreadExecutor(1).execute(mapper, mapper.window_grid))
    many = dict(ThreadExecutor(4).execute(mapper, mapper.window_grid))
    assert one.keys() == many.keys() == set(mapper.window_grid)
    assert all(np.array_equal(one[item], many[item]) if one[item] is not None else many[item] is None for item in one)


def test_a_surface_moved_to_another_crs_does_not_depend_on_the_window_it_is_read_with(raster) -> None:
    """Nor on what GDAL has read before."""
    path = raster("dsm.tif", np.random.default_rng(0).normal(400, 9, (300, 300)).astype(np.float32), crs="EPSG:4326",
                  transform=Affine(1.3e-5, 0, -122.6, 0, -0.9e-5, 47.2))  # fmt: skip
    from forestgaps_geo.grids.crs import parse_crs

    source = make_source([path], resample=True)
    with source.open() as band:
        grid = choose_target_grid(band.grid, "dsm", resolution_m=1.5, crs=parse_crs("EPSG:32610"), resample=True)
    make = partial(DsmReader, source, grid, True)
    whole, parts = make(), make()
    everything = whole.read(0, 0, grid.rows, grid.columns)
    for row, column in [(64, 64), (0, 0), (100, 37)]:
        assert np.array_equal(parts.read(row, column, 60, 70), everything[row : row + 60, column : column + 70], equal_nan=True)
    whole.close()
    parts.close()


def test_a_surface_that_vanished_is_told(mapper) -> None:
    sent = pickle.dumps(mapper)
    mapper.surface.source.files[0].unlink()
    with pytest.raises(DataError, match="no such file"):
        pickle.loads(sent)((1, 1))


def test_a_network_is_known_by_its_weights_and_settings() -> None:
    assert hash_predictor(small()) == hash_predictor(small(pause=1.0))
    assert hash_predictor(small()) != hash_predictor(small(seed=1))
    flipped = small()
    flipped.flips = True
    assert hash_predictor(flipped) != hash_predictor(small())


@pytest.mark.parametrize(("said", "pixels"), [({}, 0), ({"context_pixels": 90}, 90), ({"context_m": 200.0}, 400)])
def test_a_network_may_say_how_far_it_looks(said, pixels) -> None:
    predictor = small()
    predictor.resolution_m = 0.5
    for name, value in said.items():
        setattr(predictor.model, name, value)
    assert isinstance(predictor.model, nn.Module)
    assert get_context_pixels(predictor) == pixels
