from __future__ import annotations

import pytest
import torch

from forestgaps_core import load_config, load_predictor, train_model
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.plugins import Plugins


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    from .conftest import RUN_FILE

    folder = tmp_path_factory.mktemp("predictor")
    (folder / "run.toml").write_text(RUN_FILE)
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


def question(samples=3):
    generator = torch.Generator().manual_seed(0)
    dsm = torch.rand((samples, 1, 16, 16), generator=generator) * 20 + 400
    return dsm, torch.rand((samples, 1, 16, 16), generator=generator) > 0.1


def test_probabilities_come_for_any_thresholds_in_the_order_asked(run, plugins):
    predictor = load_predictor(run, plugins=plugins)
    dsm, valid = question()
    up, down = predictor(dsm, valid, [2.0, 5.0, 11.0]), predictor(dsm, valid, [11.0, 5.0, 2.0])
    assert up.shape == (3, 3, 16, 16)
    assert torch.equal(up, down.flip(1))
    assert predictor(dsm, valid).shape[1] == 3
    assert predictor.resolution_m == 1.0


def test_a_gap_at_one_threshold_is_a_gap_at_every_higher_one(run, plugins):
    dsm, valid = question()
    probabilities = load_predictor(run, plugins=plugins)(dsm, valid, [1.0, 2.0, 4.0, 8.0, 16.0])
    assert (probabilities.diff(dim=1) >= 0).all()


def test_what_stands_at_invalid_pixels_does_not_matter(run, plugins):
    predictor = load_predictor(run, plugins=plugins)
    dsm, valid = question()
    garbage = torch.where(valid, dsm, torch.nan)
    assert torch.equal(predictor(garbage, valid), predictor(torch.where(valid, dsm, -9999.0), valid))


def test_predicting_needs_the_network_and_nothing_else(run, tmp_path):
    source = (run / "plugins" / "example_plugin.py").read_text()
    for kind in ("losses", "schedulers", "callbacks", "metrics", "data"):
        source = source.replace(f"@hookimpl\ndef forestgaps_{kind}", f"def unused_{kind}")
    (tmp_path / "only_the_network.py").write_text(source)
    plugins = Plugins()
    plugins.add_file(tmp_path / "only_the_network.py")
    assert load_predictor(run, plugins=plugins)(*question()).shape == (3, 3, 16, 16)


def test_without_the_networks_package_the_error_says_which_it_was(run):
    with pytest.raises(CheckpointError, match=r"made with the model 'net' of example_plugin.py sha256:\w+: no model named 'net'"):
        load_predictor(run, plugins=Plugins())


def test_a_folder_without_a_network_and_a_wrong_device_are_told(run, tmp_path, plugins):
    with pytest.raises(CheckpointError, match="no trained network in"):
        load_predictor(tmp_path, plugins=plugins)
    with pytest.raises(ConfigError, match="found device 'gpu'"):
        load_predictor(run, device="gpu", plugins=plugins)
