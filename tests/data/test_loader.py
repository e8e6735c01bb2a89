from __future__ import annotations

import multiprocessing

import pytest
import torch

from forestgaps_core import Tile
from forestgaps_core.data.loader import TileLoader
from forestgaps_core.errors import PluginError


class Counter:
    """Tiles that say what they were drawn from."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return self.samples

    def read(self, index, draw):
        plane = torch.full((2, 2), float(index))
        return Tile(dsm=plane, height=plane + draw % 1000, valid=plane > -1)


def keys(loader):
    return [(tiles.index.tolist(), tiles.draw.tolist(), tiles.height[:, 0, 0, 0].tolist()) for tiles in loader]


def test_every_sample_comes_once_an_epoch_in_another_order_each_time():
    loader = TileLoader(Counter(10), batch_size=4, shuffle=True)
    orders = []
    for epoch in range(3):
        loader.seek(epoch)
        orders.append([index for indices, _, _ in keys(loader) for index in indices])
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert len(loader) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_resumed_in_the_middle_continues_as_it_would_have(workers):
    loader = TileLoader(Counter(11), batch_size=3, shuffle=True, seed=5, workers=workers)
    loader.seek(2)
    whole = keys(loader)
    loader.seek(2, 2)
    assert keys(loader) == whole[2:]
    loader.seek(2, 4)
    assert keys(loader) == []
    plain = TileLoader(Counter(11), batch_size=3, shuffle=True, seed=5)
    plain.seek(2)
    assert keys(plain) == whole


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    keys(TileLoader(Counter(5), batch_size=2, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_reads_in_order():
    assert [index for indices, _, _ in keys(TileLoader(Counter(5), batch_size=2)) for index in indices] == [0, 1, 2, 3, 4]


def test_a_closed_loader_has_no_processes_and_starts_new_ones_when_iterated():
    loader = TileLoader(Counter(8), batch_size=2, workers=2)
    before = set(multiprocessing.active_children())
    first = [tiles.index.tolist() for tiles in loader]
    assert len(set(multiprocessing.active_children()) - before) == 2
    loader.close()
    assert set(multiprocessing.active_children()) == before
    assert [tiles.index.tolist() for tiles in loader] == first
    loader.close()


class Colored(Counter):
    """Tiles with colors, the seventh with those that are given."""

    seventh = torch.full((3, 2, 2), 6.0)

    def read(self, index, draw):
        tile = super().read(index, draw)
        colors = self.seventh if index == 6 else torch.full((3, 2, 2), float(index))
        return Tile(tile.dsm, tile.height, tile.valid, {} if colors is None else {"rgb": colors})


@pytest.mark.parametrize("workers", [0, 2])
def test_further_layers_come_with_their_tiles(workers):
    loader = TileLoader(Colored(10), batch_size=4, shuffle=True, workers=workers, channels={"rgb": 3})
    for tiles in loader:
        assert tiles.layers["rgb"].shape == (len(tiles.index), 3, 2, 2)
        assert torch.equal(tiles.layers["rgb"][:, 2, 0, 0], tiles.index.float())
    loader.close()
    assert loader.read(0, 0).layers["rgb"].shape == (4, 3, 2, 2)


@pytest.mark.parametrize(
    ("seventh", "found"),
    [
        (None, "read sample 6 with the layers none, expected 'rgb'"),
        (torch.zeros(3, 2, 4), r"layers\['rgb'\] as torch.float32 \(3, 2, 4\), expected torch.float32 \(3, 2, 2\)"),
        (torch.zeros(4, 2, 2), r"layers\['rgb'\] as torch.float32 \(4, 2, 2\)"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), r"layers\['rgb'\] as torch.uint8"),
        ([0.0], r"layers\['rgb'\] as list"),
    ],
)
def test_a_layer_that_one_tile_lacks_or_has_otherwise_is_named_with_the_sample(seventh, found, monkeypatch):
    monkeypatch.setattr(Colored, "seventh", seventh)
    with pytest.raises(PluginError, match=found):
        list(TileLoader(Colored(10), batch_size=4, channels={"rgb": 3}))


def test_layers_that_nobody_requested_are_refused():
    with pytest.raises(PluginError, match="with the layers 'rgb', expected none"):
        list(TileLoader(Colored(10), batch_size=4))
