from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.runtime.rng import random_numbers, uniform
from forestgaps_core.testing import check_config, check_data
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.training.crops import list_crop_areas
from forestgaps_rasters.training.data import Rasters
from forestgaps_rasters.training.sampling import compute_slope_deg, measure_windows

RUNS = {
    "gaps": ClassBalance(balance="gaps", thresholds=(5.0, 10.0), gap_fractions=(0.05, 0.5)),
    "slope": ClassBalance(balance="slope", slopes_deg=(10.0, 25.0)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Wood without gaps on flat ground; in the last eighth of it gaps, in the first eighth a slope of 35 degrees."""
    folder = tmp_path_factory.mktemp("strata")
    (folder / "wood").mkdir()
    rows, columns = 80, 320
    x = np.broadcast_to(np.arange(columns, dtype=np.float32), (rows, columns))
    chm = np.where(x >= 280, 1.0, 20.0).astype(np.float32)
    ground = 300 + np.tan(np.radians(35)) * np.minimum(x - 40, 0)
    write(folder / "wood" / "dsm.tif", ground + chm)
    write(folder / "wood" / "chm.tif", chm)
    wood = Site(name="wood", folder=folder / "wood", validation="south 0.3", test="north 0.2")
    prepare_sites([wood], folder / "out", PrepareOptions(tile=16, buffer_m=2))
    return folder / "out"


def write(path: Path, values: np.ndarray) -> None:
    import rasterio

    size = {"height": values.shape[0], "width": values.shape[1]}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="float32", crs="EPSG:32610",
                       transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5.2e6), **size) as file:  # fmt: skip
        file.write(values.astype(np.float32), 1)


def tiles(source, count: int = 600):
    return [source.read(0, draw) for draw in random_numbers(0, 0, torch.arange(count)).tolist()]


@pytest.mark.parametrize("balance", ["gaps", "slope"])
def test_the_contract(prepared, balance) -> None:
    check_data(Rasters(folder=prepared, samples_per_epoch=7, sampling=RUNS[balance]))


@pytest.mark.parametrize("balance", ["gaps", "slope"])
def test_the_config_survives_a_run_file(balance) -> None:
    check_config(Rasters(folder=Path("a"), sampling=RUNS[balance]))
    table = {"folder": "a", "sampling": {"balance": balance, "evenness": 0.5}}
    assert structure(table, Rasters).sampling == ClassBalance(balance=balance, evenness=0.5)


def test_half_of_the_crops_have_many_gaps_where_an_eighth_of_the_ground_has(prepared) -> None:
    def open_share(sampling: ClassBalance) -> float:
        train = Rasters(folder=prepared, sampling=sampling).build().train
        return float(np.mean([tile.height.mean() < 10 for tile in tiles(train)]))

    even = ClassBalance(balance="gaps", thresholds=(5.0,), gap_fractions=(0.5,))
    assert open_share(ClassBalance()) == pytest.approx(0.125, abs=0.05)
    assert open_share(even) == pytest.approx(0.5, abs=0.07)


def test_as_many_crops_are_of_steep_as_of_flat_ground(prepared) -> None:
    train = Rasters(folder=prepared, sampling=ClassBalance(balance="slope", slopes_deg=(17.5,))).build().train

    def steep(tile) -> bool:
        ground = tile.dsm - tile.height
        return bool((ground[:, -1] - ground[:, 0]).mean() > 15 * np.tan(np.radians(17.5)))

    assert float(np.mean([steep(tile) for tile in tiles(train)])) == pytest.approx(0.5, abs=0.07)


def test_classes_come_equally_often_within_sampling_error(prepared) -> None:
    train = Rasters(folder=prepared, sampling=RUNS["gaps"]).build().train
    numbers = uniform(random_numbers(1, 0, torch.arange(6000)), "kind", 1)[:, 0].tolist()
    kinds = Counter(train.strata.stratum(number) for number in numbers)
    share = 1 / len(train.strata)
    assert len(kinds) == len(train.strata)
    assert max(abs(count / 6000 - share) for count in kinds.values()) < 5 * (share / 6000) ** 0.5


def test_without_evenness_crops_come_as_often_as_their_classes_occur(prepared) -> None:
    plain = Rasters(folder=prepared, sampling=ClassBalance(balance="gaps", thresholds=(5.0,), evenness=0.0)).build().train
    seen = float(np.mean([tile.height.mean() < 10 for tile in tiles(plain)]))
    assert seen == pytest.approx(0.125, abs=0.05)


def test_a_tile_of_validation_is_of_the_stratum_training_would_put_it_in(prepared) -> None:
    data = Rasters(
        folder=prepared, sampling=ClassBalance(balance="gaps", thresholds=(5.0,), gap_fractions=(0.001, 0.01, 0.99))
    ).build()
    assert data.validation.strata.shape == (1, len(data.validation))
    closed, nothing, _, opened = data.train.strata.numbers[0].tolist()
    assert nothing == -1, "one pixel in a hundred cannot be a gap where gaps are stripes"
    for index in range(len(data.validation)):
        share = float((data.validation.read(index, 0).height[data.validation.read(index, 0).valid] < 5).float().mean())
        if share in (0.0, 1.0):
            assert data.validation.strata[0, index] == (opened if share else closed)


@given(rows=st.integers(1, 60), columns=st.integers(1, 60), size=st.integers(16, 40), step=st.one_of(st.none(), st.integers(1, 20)))
def test_every_window_of_a_block_is_in_one_place(rows, columns, size, step) -> None:
    block = Block(3, 5, rows, columns)
    seen: Counter[Block] = Counter()
    for place in list_crop_areas(0, block, size, step):
        assert step is None or max(place.origins.rows, place.origins.columns) <= step
        for y in range(place.origins.rows):
            for x in range(place.origins.columns):
                seen[place.window((y + 0.5) / place.origins.rows, (x + 0.5) / place.origins.columns)] += 1
    assert set(seen.values()) == {1}
    assert all(block.contains(window) for window in seen)
    assert len(seen) == max(rows - size + 1, 1) * max(columns - size + 1, 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), nodata=st.sampled_from([0.0, 0.3, 1.0]))
def test_gap_fractions_are_those_counted_window_by_window(seed, nodata) -> None:
    random = np.random.default_rng(seed)
    height = random.normal(6, 4, (50, 40)).astype(np.float32)
    height[random.random(height.shape) < nodata] = np.nan
    blocks = [Block(r, c, 12, 9) for r in (0, 7, 38) for c in sorted(random.integers(0, 32, 4))]
    sampling = ClassBalance(balance="gaps", thresholds=(2.0, 8.0))
    values, valid = measure_windows(
        lambda _, __, b: height[b.row : b.end[0], b.column : b.end[1]], [(0, b) for b in blocks], sampling, 1.0
    )
    for n, block in enumerate(blocks):
        part = height[block.row : block.end[0], block.column : block.end[1]]
        known = part[~np.isnan(part)]
        assert valid[n] == known.size
        for k, threshold in enumerate(sampling.thresholds):
            assert values[k, n] == pytest.approx((known < threshold).mean() if known.size else np.nan, nan_ok=True)


@pytest.mark.parametrize("resolution_m", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("steepness", [0.0, 8.0, 38.0])
def test_the_slope_of_a_plane_is_its_slope_whatever_stands_on_it(resolution_m, steepness) -> None:
    y, x = np.mgrid[:128, :96] * resolution_m
    random = np.random.default_rng(0)
    ground = (1500 + np.tan(np.radians(steepness)) * (0.6 * x + 0.8 * y)).astype(np.float32)
    height = random.gamma(4, 4, ground.shape).astype(np.float32)
    noisy = ground + random.normal(0, 0.3, ground.shape).astype(np.float32)

    def crop(_: int, layer: str, b: Block) -> np.ndarray:
        return {"dsm": noisy + height, "height": height}[layer][b.row : b.end[0], b.column : b.end[1]]

    windows = [(0, Block(0, 7, 64, 64)), (0, Block(0, 32, 64, 64)), (0, Block(64, 0, 64, 64))]
    values, _ = measure_windows(crop, windows, ClassBalance(balance="slope"), resolution_m)
    assert values == pytest.approx(np.full((1, 3), steepness), abs=0.8)


def test_cells_without_ground_have_no_slope() -> None:
    ground = np.tile(np.arange(40, dtype=np.float32), (40, 1))
    ground[:10, :10] = np.nan
    slopes = compute_slope_deg(ground, 10, 1.0)
    assert np.isnan(slopes).tolist() == [[True, True, False, False], [True, False, False, False], *[[False] * 4] * 2]
    assert slopes[~np.isnan(slopes)] == pytest.approx(45.0)
    assert np.isnan(compute_slope_deg(ground[:1], 10, 1.0)).all(), "one row has no slope"


# In a process of its own: other tests leave threads and caches that allocate too.
PEAKS = """
import tracemalloc
import numpy as np
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_rasters.training.sampling import measure_windows

for rows in (32, 320, 3200):  # the first imports and fills caches
    windows = [(0, Block(row, column, 32, 32)) for row in range(0, rows, 16) for column in (0, 200)]
    tracemalloc.start()
    measure_windows(lambda _, __, b: np.ones((b.rows, b.columns), np.float32), windows, ClassBalance(balance="gaps"), 1.0)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_memory_is_that_of_a_strip_however_tall_the_site() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    _, low, tall = map(int, done.stdout.split())
    assert tall < 2 * low + 200_000, "ten times the rows"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"balance": "gap"}, "did you mean 'gaps'"),
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": [5, 2]}, "strictly ascending"),
        ({"thresholds": [-1, 2]}, "thresholds"),
        ({"gap_fractions": [0.0, 0.5]}, "gap_fractions"),
        ({"gap_fractions": [0.5, 20]}, "gap_fractions"),
        ({"slopes_deg": [30, 95]}, "slopes_deg"),
        ({"evenness": 2}, "evenness"),
        ({"treshold": [2]}, "did you mean 'thresholds'"),
    ],
)
def test_mistakes_in_a_run_file_are_told(table, told) -> None:
    with pytest.raises(ConfigError, match=told):
        structure({"folder": "a", "sampling": table}, Rasters)


def test_one_class_alone_cannot_be_balanced(prepared) -> None:
    with pytest.raises(DataError, match="'gaps', but all training places are of one class; change thresholds or gap_fractions"):
        Rasters(folder=prepared, sampling=ClassBalance(balance="gaps", thresholds=(0.5,))).build()
    with pytest.raises(DataError, match="change slopes_deg"):
        Rasters(folder=prepared, sampling=ClassBalance(balance="slope", slopes_deg=(80.0,))).build()


def test_no_place_with_enough_data_is_told(site, tmp_path) -> None:
    prepare_sites([Site(name="s", folder=site("s"), validation="south 0.3")], tmp_path / "out", PrepareOptions(tile=32, buffer_m=5))
    with pytest.raises(DataError, match="no training place has 100% of its pixels valid; lower minimum_valid"):
        Rasters(folder=tmp_path / "out", minimum_valid=1.0, sampling=ClassBalance(balance="gaps")).build()
