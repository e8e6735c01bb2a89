from __future__ import annotations

import multiprocessing
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.testing import check_config, check_data
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.prepared.index import Index
from forestgaps_rasters.training.crops import tile_block
from forestgaps_rasters.training.data import Rasters

SPLIT = {"validation": "south-east 0.25", "test": "north 0.2"}


@pytest.fixture
def prepared(raster, tmp_path) -> Path:
    """Two sites whose pixels tell where they are: DSM = 1000 * site + row, height = column."""
    sites = []
    for number, (rows, columns) in enumerate([(100, 90), (40, 30)]):
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        place = {"crs": f"EPSG:{32610 + number}"}
        folder = raster(f"s{number}/dsm.tif", 1000 * number + y, **place).parent
        raster(f"s{number}/chm.tif", np.where((x == 7) & (y > 20), np.nan, x), **place)
        sites.append(Site(name=f"s{number}", folder=folder, **(SPLIT if number == 0 else {})))
    prepare_sites(sites, tmp_path / "prepared", PrepareOptions(tile=32, buffer_m=5, skip_checks=True))
    return tmp_path / "prepared"


def index_of(folder: Path) -> Index:
    from forestgaps_rasters.prepared.index import read_index

    return read_index(folder)


def test_the_contract(prepared) -> None:
    check_data(Rasters(folder=prepared, tile_size=48, samples_per_epoch=7, weight="site"))


def test_the_config_survives_a_run_file() -> None:
    check_config(Rasters(folder=Path("a/b"), tile_size=64, minimum_valid=0.5))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(draw=st.integers(-(2**63), 2**63 - 1), weight=st.sampled_from(["area", "site"]), balance=st.sampled_from(["none", "gaps"]))
def test_no_training_tile_holds_a_pixel_of_validation_or_test(prepared, draw, weight, balance) -> None:
    sampling = ClassBalance(balance=balance, thresholds=(20.0, 50.0))
    source = Rasters(folder=prepared, weight=weight, sampling=sampling).build().train
    tile = source.read(0, draw)
    site = tile.dsm[tile.valid].min() >= 1000
    rows, columns = (tile.dsm[tile.valid] % 1000).int(), tile.height[tile.valid].int()
    if not site:
        blocks = index_of(prepared).sites[0].blocks
        for part in ("validation", "test"):
            for block in blocks[part]:
                grown = block.expand(5)
                (bottom, right) = grown.end
                near = (rows >= grown.row) & (rows < bottom) & (columns >= grown.column) & (columns < right)
                assert not near.any(), f"a training tile comes within 5 pixels of {part}"


def test_a_crop_is_a_window_of_the_site(prepared) -> None:
    tile = Rasters(folder=prepared).build().train.read(3, 99)
    y, x = torch.nonzero(tile.valid, as_tuple=True)
    assert (tile.dsm[y, x] - y).unique().numel() == 1
    assert (tile.height[y, x] - x).unique().numel() == 1
    assert (tile.dsm[~tile.valid] == 0).all()


def test_only_the_draw_decides_on_a_crop(prepared) -> None:
    train = Rasters(folder=prepared).build().train
    assert torch.equal(train.read(0, 5).dsm, train.read(7, 5).dsm)
    crops = {tuple(train.read(0, draw).dsm.flatten()[:40].tolist()) for draw in range(20)}
    assert len(crops) > 10, "draws hardly differ"


def test_sites_are_drawn_by_area_or_equally(prepared) -> None:
    def share(weight: str) -> float:
        train = Rasters(folder=prepared, weight=weight).build().train
        return float(np.mean([bool((train.read(0, draw).dsm >= 1000).any()) for draw in range(400)]))

    area = [sum(block.area for block in site.blocks["train"]) for site in index_of(prepared).sites]
    assert share("site") == pytest.approx(0.5, abs=0.08)
    assert share("area") == pytest.approx(area[1] / sum(area), abs=0.08)


def test_a_block_smaller_than_a_tile_is_filled_up_with_invalid_pixels(prepared) -> None:
    train = Rasters(folder=prepared, tile_size=64).build().train
    tiles = [tile for draw in range(40) if (tile := train.read(0, draw)).dsm.max() >= 1000]
    assert tiles
    places = set()
    for tile in tiles:
        assert tile.dsm.shape == (64, 64)
        assert int(tile.valid.sum()) == 40 * 30 - 19  # the column without data
        y, x = torch.nonzero(tile.valid, as_tuple=True)
        places.add((int(y.min()), int(x.min())))
    assert len(places) > 1, "the block should stand anywhere in the tile"


@pytest.mark.parametrize(("part", "tile_size"), [("validation", 16), ("test", 40), ("test", 256)])
def test_fixed_tiles_hold_each_pixel_of_their_blocks_once(prepared, part, tile_size) -> None:
    source = getattr(Rasters(folder=prepared, tile_size=tile_size, minimum_valid=0).build(), part)
    seen = np.zeros((100, 90), int)
    for index in range(len(source)):
        tile = source.read(index, index)
        rows, columns = tile.dsm[tile.valid].int().numpy(), tile.height[tile.valid].int().numpy()
        np.add.at(seen, (rows, columns), 1)
    expected = np.zeros_like(seen)
    for block in index_of(prepared).sites[0].blocks[part]:
        expected[block.row : block.end[0], block.column : block.end[1]] = 1
    expected[21:, 7] = 0
    assert np.array_equal(seen, expected)


def test_windows_with_too_little_data_are_left_out(raster, tmp_path) -> None:
    heights = np.full((64, 64), 12, np.float32)
    heights[40:, :32] = np.nan
    folder = raster("s/dsm.tif", np.full((64, 64), 400, np.float32)).parent
    raster("s/chm.tif", heights)
    prepare_sites([Site(name="s", folder=folder, validation="south 0.25")], tmp_path / "out", PrepareOptions(tile=32, buffer_m=0))
    assert len(Rasters(folder=tmp_path / "out").build().validation) == 1
    heights[50] = np.nan
    raster("s/chm.tif", heights)
    prepare_sites([Site(name="s", folder=folder, validation="south 0.25")], tmp_path / "two", PrepareOptions(tile=32, buffer_m=0))
    with pytest.raises(DataError, match="no validation tile has 100%"):
        Rasters(folder=tmp_path / "two", minimum_valid=1.0).build()


def test_training_looks_for_a_place_with_data(raster, tmp_path) -> None:
    heights = np.full((100, 100), np.nan, np.float32)
    heights[:40, :40], heights[90:] = 12, 12
    folder = raster("s/dsm.tif", np.full((100, 100), 400, np.float32)).parent
    raster("s/chm.tif", heights)
    prepare_sites([Site(name="s", folder=folder, validation="south 0.1")], tmp_path / "out", PrepareOptions(tile=16, buffer_m=0))

    def share(minimum: float) -> float:
        train = Rasters(folder=tmp_path / "out", minimum_valid=minimum).build().train
        return float(np.mean([train.read(0, draw).valid.float().mean() >= 0.5 for draw in range(100)]))

    assert share(0.5) > share(0.0) + 0.3


@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 64))
def test_pieces_cover_a_block_once_and_are_alike(rows, columns, size) -> None:
    plane = np.zeros((rows, columns), int)
    cuts = list(tile_block(Block(0, 0, rows, columns), size))
    for piece in cuts:
        assert piece.rows <= size
        assert piece.columns <= size
        plane[piece.row : piece.end[0], piece.column : piece.end[1]] += 1
    assert (plane == 1).all()
    assert max(p.rows for p in cuts) - min(p.rows for p in cuts) <= 1


def test_neighboring_windows_of_a_site_share_a_spatial_block(prepared) -> None:
    grid = Rasters(folder=prepared, tile_size=16).build().validation
    blocks = [grid.block(n) for n in range(len(grid))]
    for (site, window), block in zip(grid.windows, blocks, strict=True):
        name, row, column = block.split(" ")
        assert name == grid.maps.names[site]
        assert grid.site(grid.windows.index((site, window))) == name
        assert int(row) * 32 <= window.row + window.rows // 2 < (int(row) + 1) * 32
        assert int(column) * 32 <= window.column + window.columns // 2 < (int(column) + 1) * 32
    assert 1 < len(set(blocks)) < len(blocks)


def test_a_source_travels_to_a_process_without_its_pixels(prepared) -> None:
    train = Rasters(folder=prepared).build().train
    expected = train.read(0, 7).dsm
    parcel = pickle.dumps(train)
    assert len(parcel) < 5000
    assert torch.equal(pickle.loads(parcel).read(0, 7).dsm, expected)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_the_same_tiles(prepared, method) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    train = Rasters(folder=prepared, samples_per_epoch=4).build().train
    loader = torch.utils.data.DataLoader(Drawn(train), batch_size=None, num_workers=1, multiprocessing_context=method)
    assert all(torch.equal(dsm, train.read(0, draw).dsm) for draw, dsm in enumerate(loader))


class Drawn(torch.utils.data.Dataset):
    def __init__(self, source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.source.read(index, index).dsm


def test_an_epoch_covers_the_training_blocks_unless_said_otherwise(prepared) -> None:
    area = sum(block.area for site in index_of(prepared).sites for block in site.blocks["train"])
    assert len(Rasters(folder=prepared).build().train) == round(area / 32**2)
    assert len(Rasters(folder=prepared, samples_per_epoch=11).build().train) == 11


def test_a_missing_folder_is_told_so(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none: is no prepared folder"):
        Rasters(folder=tmp_path / "none").build()


def test_a_site_left_out_is_the_whole_test_and_nothing_else(prepared) -> None:
    data = Rasters(folder=prepared, tile_size=32, samples_per_epoch=30, leave_out=("s1",), minimum_valid=0.0).build()
    # The DSM of site s1 starts at 1000.
    assert all((tile.dsm[tile.valid] < 1000).all() for tile in (data.train.read(index, index) for index in range(30)))
    assert all((tile.dsm[tile.valid] < 1000).all() for tile in map(data.validation.read, range(len(data.validation)), [0] * 99))
    tested = [data.test.read(index, 0) for index in range(len(data.test))]
    assert all((tile.dsm[tile.valid] >= 1000).all() for tile in tested)
    height = np.load(prepared / "s1" / "height.npy")
    assert sum(int(tile.valid.sum()) for tile in tested) == np.isfinite(height).sum()


def test_a_site_to_leave_out_must_be_there(prepared) -> None:
    with pytest.raises(DataError, match=r"'s7'.*there is: s0, s1"):
        Rasters(folder=prepared, leave_out=("s7",)).build()


# --- where a sample was taken, and odd data ---------------------------------------------------------------------------


def test_a_place_is_told_as_it_was_read(prepared) -> None:
    """The DSM is 1000 * site + row, the height the column."""
    data = Rasters(folder=prepared).build()
    for source in (data.train, data.validation, data.test):
        for index in range(min(len(source), 6)):
            told = re.fullmatch(r"site s(\d), rows (\d+)-(\d+), columns (\d+)-(\d+)", source.place(index, 31 * index))
            assert told, source.place(index, 31 * index)
            site, top, bottom, left, right = map(int, told.groups())
            tile = source.read(index, 31 * index)
            rows, columns = tile.dsm[tile.valid] - 1000 * site, tile.height[tile.valid]
            assert (rows.min(), rows.max()) == (top, bottom - 1)
            assert left <= columns.min() <= columns.max() < right
            assert columns.max() - columns.min() > (right - left) / 2


def odd(raster, tmp_path, heights: np.ndarray, **options) -> Path:
    y = np.arange(len(heights), dtype=np.float32)[:, None]
    folder = raster("odd/dsm.tif", 400 + y + np.nan_to_num(heights, nan=0)).parent
    raster("odd/chm.tif", heights)
    site = Site(name="odd", folder=folder, **SPLIT)
    prepare_sites([site], tmp_path / "prepared", PrepareOptions(**({"tile": 32, "buffer_m": 5, "skip_checks": True} | options)))
    return tmp_path / "prepared"


@pytest.mark.parametrize("height", [0.0, 30.0])
def test_all_gap_and_no_gap_are_data_as_any(raster, tmp_path, height) -> None:
    data = Rasters(folder=odd(raster, tmp_path, np.full((100, 90), height, np.float32)), samples_per_epoch=3).build()
    for source in (data.train, data.validation, data.test):
        tile = source.read(0, 0)
        assert tile.valid.any()
        assert (tile.height[tile.valid] == height).all()


@pytest.mark.parametrize("height", [0.0, 30.0])
def test_one_class_cannot_be_balanced(raster, tmp_path, height) -> None:
    folder = odd(raster, tmp_path, np.full((100, 90), height, np.float32))
    with pytest.raises(DataError, match="all training places are of one class; change thresholds or gap_fractions"):
        Rasters(folder=folder, sampling=ClassBalance(balance="gaps")).build()


def test_a_constant_dsm_is_noted_and_read(raster, tmp_path) -> None:
    folder = raster("flat/dsm.tif", np.full((100, 90), 400, np.float32)).parent
    raster("flat/chm.tif", np.full((100, 90), 5, np.float32))
    options = PrepareOptions(tile=32, buffer_m=5)
    done = prepare_sites([Site(name="flat", folder=folder, **SPLIT)], tmp_path / "prepared", options)
    assert any("has one value, 400 m" in note for note in done.notes)
    tile = Rasters(folder=tmp_path / "prepared").build().train.read(0, 0)
    assert tile.dsm[tile.valid].unique().tolist() == [400]


def test_data_without_a_valid_pixel_is_refused(raster, tmp_path) -> None:
    with pytest.raises(DataError, match="has no data at all"):
        odd(raster, tmp_path, np.full((100, 90), np.nan, np.float32))
    heights = np.full((100, 90), np.nan, np.float32)
    heights[:20] = 5  # the test block alone
    folder = odd(raster, tmp_path, heights)
    with pytest.raises(DataError, match="no training block has any data"):
        Rasters(folder=folder).build()


def test_an_epoch_of_one_sample(raster, tmp_path) -> None:
    data = Rasters(folder=odd(raster, tmp_path, np.full((100, 90), 5, np.float32)), samples_per_epoch=1).build()
    assert len(data.train) == 1
    assert data.train.read(0, 0).valid.any()


def test_a_part_without_samples_is_empty_or_told(raster, tmp_path) -> None:
    heights = np.full((100, 90), 5, np.float32)
    heights[:20] = np.nan
    folder = odd(raster, tmp_path, heights)
    with pytest.raises(DataError, match="no test tile has 5% of its pixels valid"):
        Rasters(folder=folder).build()
    with pytest.raises(ConfigError, match="samples_per_epoch"):
        structure({"folder": "x", "samples_per_epoch": 0}, Rasters, "run file")


@pytest.mark.parametrize("margin", [0, 6, 1000])
def test_the_surroundings_of_a_tile_are_the_surface_around_it(prepared, margin) -> None:
    source = Rasters(folder=prepared, tile_size=32).build().test
    for index in range(len(source)):
        tile = source.read(index, 0)
        surface, (rows, columns) = source.surroundings(index, margin)
        inside = surface[rows, columns]
        height, width = inside.shape
        np.testing.assert_array_equal(np.isfinite(inside), tile.valid[:height, :width].numpy())
        np.testing.assert_array_equal(np.nan_to_num(inside), np.where(tile.valid, tile.dsm, 0.0)[:height, :width])
        site, window = source.windows[index]
        whole = source.maps.arrays[site, "dsm"]
        expected = min(window.end[0] + margin, whole.shape[0]) - max(window.row - margin, 0)
        assert surface.shape[0] == expected
    assert source.surroundings(0, 1000)[0].shape == source.maps.arrays[source.windows[0][0], "dsm"].shape
