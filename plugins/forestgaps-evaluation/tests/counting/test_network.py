from __future__ import annotations

import pytest
import torch

from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.errors import CheckpointError, ConfigError, DataError
from forestgaps_evaluation.counting.network import note_pixel_sizes, open_network


def test_a_checkpoint_file_brings_its_data(run, plugins):
    folder, file = (open_network(place, device="cpu", plugins=plugins) for place in (run, run / "checkpoints" / "last.safetensors"))
    assert folder.config == file.config
    assert folder.checkpoint == file.checkpoint
    assert torch.equal(folder.data.test.read(0, 0).dsm, file.data.test.read(0, 0).dsm)
    assert folder.own_data and file.own_data


def test_logits_are_those_of_the_map(trained):
    batch = BatchMaker(thresholds=Thresholds(values=(2.0, 5.0)))(next(iter(trained.loader("test"))))
    mapped = trained.predictor(batch.dsm, batch.valid, (2.0, 5.0))
    assert torch.allclose(trained.logits(batch, (2.0, 5.0)).sigmoid(), mapped, atol=1e-6)
    assert torch.equal(trained.logits(batch, (2.0, 5.0)) > 0, mapped > 0.5)


def test_other_data_may_take_the_place_of_its_own(run, run_file, plugins, tmp_path):
    own = open_network(run, device="cpu", plugins=plugins)
    changed = open_network(run, device="cpu", changes=["data.place=3"], plugins=plugins)
    file = tmp_path / "elsewhere.toml"
    file.write_text(run_file.read_text().replace('name = "woods"', 'name = "woods"\nplace = 3').replace("seed = 4", "seed = 9"))
    named = open_network(run, device="cpu", data=file, plugins=plugins)
    again = open_network(run, device="cpu", data=run, plugins=plugins)
    first = [network.data.test.read(0, 0).dsm for network in (own, changed, named, again)]
    assert torch.equal(first[1], first[2])
    assert torch.equal(first[0], first[3])
    assert not torch.equal(first[0], first[1])
    assert (named.seed, named.own_data, changed.own_data) == (4, False, False)


def test_a_network_folder_needs_data(run, run_file, plugins, tmp_path):
    pytest.importorskip("safetensors")
    from forestgaps_core.inference.model_folder_writing import save_network

    save_network(run, tmp_path / "network", plugins=plugins)
    with pytest.raises(DataError, match=r"is a trained network without data\. Add --data FOLDER"):
        open_network(tmp_path / "network", device="cpu", plugins=plugins)
    found = open_network(tmp_path / "network", device="cpu", data=run_file, plugins=plugins)
    own = open_network(run, device="cpu", plugins=plugins)
    assert torch.equal(found.predictor.model.scale, own.predictor.model.scale)


def test_nothing_but_the_data_may_be_changed(run, plugins):
    with pytest.raises(ConfigError, match=r"model\.name=x: only the data may be changed"):
        open_network(run, device="cpu", changes=["data.place=1", "model.name=x"], plugins=plugins)
    with pytest.raises(ConfigError, match="plcae"):
        open_network(run, device="cpu", changes=["data.plcae=1"], plugins=plugins)


def test_no_network_is_reported(tmp_path, plugins):
    with pytest.raises(CheckpointError, match="no trained network"):
        open_network(tmp_path, device="cpu", plugins=plugins)


def test_another_pixel_size_is_noted(trained):
    assert note_pixel_sizes([trained]) == []
    trained.predictor.resolution_m = 1.0
    assert note_pixel_sizes([trained])[0].endswith("was trained at 1 m and is evaluated on pixels of 5 m")
