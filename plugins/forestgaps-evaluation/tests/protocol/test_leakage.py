from __future__ import annotations

import json
import pickle

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_core.runtime.rng import random_numbers
from forestgaps_evaluation.counting.network import open_network
from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol.leakage import RECORD_FILE, MixedSource, SourceSubset, measure_leakage, mix_data, split_in_half


@given(count=st.integers(2, 300), seed=st.integers(0, 2**31))
def test_each_tile_is_either_trained_on_or_scored(count, seed):
    added, kept = split_in_half(count, seed)
    assert sorted((*added, *kept)) == list(range(count))
    assert len(added) == count // 2
    assert split_in_half(count, seed) == (added, kept)


def test_the_half_is_sampled_by_the_seed():
    assert len({split_in_half(20, seed) for seed in range(5)}) == 5
    with pytest.raises(DataError, match="half of the test tiles"):
        split_in_half(1, 0)


class Numbered:
    strata = "those of training"

    def __init__(self, start, count):
        self.start, self.count = start, count

    def __len__(self):
        return self.count

    def read(self, index, draw):
        return self.start + index


def test_test_tiles_come_as_often_as_training_samples_and_the_kept_never():
    source = MixedSource(Numbered(0, 30), Numbered(100, 20), tuple(range(0, 20, 2)))
    assert len(source) == 30
    keys = random_numbers(0, 0, torch.arange(6000)).tolist()
    read = [source.read(n % 30, draw) for n, draw in enumerate(keys)]
    added = [tile for tile in read if tile >= 100]
    assert set(added) == set(range(100, 120, 2))
    assert len(added) / len(read) == pytest.approx(10 / 40, abs=0.02)
    assert {tile for tile in read if tile < 100} == set(range(30))
    assert source.read(7, keys[7]) == read[7]


def test_callbacks_find_what_they_know_of_the_training_data():
    source = MixedSource(Numbered(0, 3), Numbered(100, 2), (0,))
    assert source.strata == "those of training"
    assert pickle.loads(pickle.dumps(source)).read(0, 0) == source.read(0, 0)
    with pytest.raises(AttributeError, match="nothing"):
        source.nothing  # noqa: B018


def test_some_tiles_keep_their_blocks(trained):
    some = SourceSubset(trained.data.test, (1, 5))
    assert [some.block(0), some.block(1)] == [0, 2]
    assert torch.equal(some.read(1, 0).dsm, trained.data.test.read(5, 0).dsm)
    assert SourceSubset(Numbered(0, 9), (4,)).block(0) == "tile 4"


def test_tiles_of_different_size_are_not_mixed(trained):
    class Small:
        def __len__(self):
            return 4

        def read(self, index, draw):
            tile = trained.data.test.read(index, draw)
            return attrs.evolve(tile, dsm=tile.dsm[:8, :8])

    with pytest.raises(DataError, match="cannot be mixed"):
        mix_data(attrs.evolve(trained.data, test=Small()), 0)


def test_leakage_is_the_difference_on_the_tiles_that_were_kept(trained, plugins, tmp_path, caplog):
    spatial = count_split(trained, "test", (2.0, 5.0))
    found = measure_leakage(trained, spatial, tmp_path / "mixed", plugins, resamples=100)
    _, kept = split_in_half(8, trained.seed)
    assert found.tiles == 4
    assert found.blocks == len({index // 2 for index in kept})
    assert all(one.difference == one.mixed - one.spatial for one in found.differences)
    mixed = open_network(tmp_path / "mixed" / "checkpoints" / "last.safetensors", device="cpu", plugins=plugins)
    weights = [network.predictor.model.state_dict() for network in (mixed, trained)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), "it learned from other tiles"
    assert not (tmp_path / "mixed" / "run.toml").exists(), "no run folder that could be mistaken for one"
    assert "half of its test tiles" in json.loads((tmp_path / "mixed" / RECORD_FILE).read_text())["not_a_score"]
    before = (tmp_path / "mixed" / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    assert caplog.text == "", "every file of the folder has a name that the draft listed"
    assert measure_leakage(trained, spatial, tmp_path / "mixed", plugins, resamples=100) == found
    assert (tmp_path / "mixed" / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before, (
        "a finished one is not trained again"
    )


def test_a_folder_of_something_else_is_left_alone(trained, plugins, tmp_path, run):
    spatial = count_split(trained, "test", (2.0,))
    with pytest.raises(ConfigError, match="not a complete leakage run"):
        measure_leakage(trained, spatial, tmp_path, plugins, resamples=100)
    with pytest.raises(ConfigError, match="the data of the training"):
        measure_leakage(
            open_network(run, device="cpu", changes=["data.place=1"], plugins=plugins),
            spatial,
            tmp_path / "new",
            plugins,
            resamples=100,
        )
    assert not (tmp_path / "new").exists()


def test_a_file_of_the_user_in_the_draft_of_a_leakage_run_survives(trained, plugins, tmp_path, caplog):
    out = tmp_path / "mixed"
    with hold_draft(locate_draft(out), out, "test") as draft:
        (draft.content / "mixed").mkdir(parents=True)
        (draft.content / "mixed" / "mine.tif").write_text("mine")
    measure_leakage(trained, count_split(trained, "test", (2.0, 5.0)), out, plugins, resamples=10)
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
