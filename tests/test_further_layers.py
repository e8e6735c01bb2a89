"""Further input layers from the data to the map of a run: training, checkpoints, model folders, prediction, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from forestgaps_core import InputLayer, evaluate_run, load_config, load_predictor, resume_training, save_network, train_model
from forestgaps_core.errors import CheckpointError, ConfigError, DataError, PluginError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.inference.exporting import load_export_source
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.rehearsal import try_run

from .small_run import INTERRUPT, make_small_run

PACKAGE = Path(__file__).parent / "packages" / "canopy-colors"
RUN = (
    make_small_run(
        {
            "augmentations.flips": {"name": "flip_rotate"},
            "augmentations.mix": {"name": "canopy_mix", "swap": 0.3},
            "augmentations.brightness": {"name": "brightness"},
            "model": {"base": 8, "dropout": 0.1},
            "optimizer": {"name": "adamw", "learning_rate": 0.01},
            "training": {"epochs": 3},
            "callbacks.interrupt": {"name": "interrupt"},
        }
    )
    .replace('name = "landscapes"', 'name = "colored"\nlayers = ["rgb", "infrared"]')
    .replace("train = 1\nvalidation = 1\ntest = 1\nsize_px = 48\ntile_px = 32\nsamples_per_epoch = 4\n", "")
)


@pytest.fixture(scope="module")
def plugins() -> Iterator[Plugins]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGE)
        yield Plugins.discover([INTERRUPT, PACKAGE / "canopy_colors" / "__init__.py"])


def config_of(folder: Path, plugins: Plugins, changes: list[str]):
    path = folder.with_suffix(".toml")
    path.write_text(RUN)
    return load_config(path, overrides=changes, plugins=plugins)


def train(folder: Path, plugins: Plugins, *changes: str):
    return train_model(config_of(folder, plugins, list(changes)), folder, plugins=plugins)


@pytest.fixture(scope="module")
def run(plugins, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("colored") / "run"
    train(folder, plugins)
    return folder


def test_a_network_learns_what_only_colors_show(run, plugins, tmp_path):
    scores = evaluate_run(run, split="test", plugins=plugins)
    assert scores["test/gaps/gap_iou"] > 0.7
    train(tmp_path / "dsm", plugins, "data.layers=[]")
    assert evaluate_run(tmp_path / "dsm", split="test", plugins=plugins)["test/gaps/gap_iou"] < 0.5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_with_layers_resumes_with_the_same_bits(run, plugins, tmp_path, workers):
    folder = tmp_path / "halted"
    train(folder, plugins, "callbacks.interrupt.at=11", f"environment.workers={workers}")
    resume_training(folder, plugins=plugins)
    one, other = (load_checkpoint(path / "checkpoints" / "last.safetensors") for path in (run, folder))
    assert all(torch.equal(tensor, other["model"][name]) for name, tensor in one["model"].items())


def test_a_model_folder_records_names_channels_and_statistics(run, plugins, tmp_path):
    save_network(run, tmp_path / "network", plugins=plugins)
    recorded = json.loads((tmp_path / "network" / "network.json").read_text())["layers"]
    assert recorded == {
        "rgb": {"mean": [120.0, 130.0, 90.0], "std": [30.0, 30.0, 30.0]},
        "infrared": {"mean": [120.0], "std": [30.0]},
    }
    one, other = (load_predictor(place, device="cpu", plugins=plugins) for place in (run, tmp_path / "network"))
    assert (
        one.layers
        == other.layers
        == {"rgb": InputLayer(mean=(120, 130, 90), std=(30, 30, 30)), "infrared": other.layers["infrared"]}
    )
    dsm, valid = torch.rand(2, 1, 40, 40) * 5 + 100, torch.rand(2, 1, 40, 40) > 0.1
    layers = {"rgb": torch.rand(2, 3, 40, 40) * 200, "infrared": torch.rand(2, 1, 40, 40) * 200}
    found = one(dsm, valid, layers=layers)
    assert torch.equal(found, other(dsm, valid, layers=layers))
    for name, layer in layers.items():  # what lies under invalid pixels or is not finite does not matter
        garbage = torch.where(valid, layer, torch.nan)
        same = one(dsm, valid, layers={**layers, name: garbage})
        assert torch.equal(same[valid.expand_as(found)], found[valid.expand_as(found)])
    one.flips = True
    turned = one(dsm.mT, valid.mT, layers={name: layer.mT for name, layer in layers.items()})
    torch.testing.assert_close(turned.mT, one(dsm, valid, layers=layers), atol=1e-5, rtol=0)


def test_a_damaged_record_of_layers_is_named(run, plugins, tmp_path):
    save_network(run, tmp_path / "network", plugins=plugins)
    path = tmp_path / "network" / "network.json"
    plan = json.loads(path.read_text())
    for damage, sentence in (
        ({"rgb": {"mean": [1.0], "std": [1.0, 2.0]}}, "layers.rgb"),
        ({"rgb": {"mean": [], "std": []}}, "layers.rgb"),
        ({"rgb": {"mean": [1.0], "std": [-1.0]}}, "layers.rgb"),
        ({"rgb": 3}, "layers.rgb"),
        ([], "layers are no table"),
        ({}, "the weights do not fit"),
        ({"rgb": {"mean": [1.0], "std": [1.0]}}, "the weights do not fit"),
    ):
        path.write_text(json.dumps({**plan, "layers": damage}))
        with pytest.raises(CheckpointError, match=sentence):
            load_predictor(tmp_path / "network", device="cpu", plugins=plugins)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ({}, "the network needs the further layers 'rgb', 'infrared', found none"),
        ({"rgb": (2, 3, 8, 8)}, "needs the further layers 'rgb', 'infrared', found 'rgb'"),
        ({"rgb": (2, 3, 8, 8), "infrared": (2, 1, 8, 8), "x": (2, 1, 8, 8)}, "found 'rgb', 'infrared', 'x'"),
        ({"rgb": (2, 4, 8, 8), "infrared": (2, 1, 8, 8)}, r"layer 'rgb': found shape \(2, 4, 8, 8\)"),
        ({"rgb": (2, 3, 8, 8), "infrared": (2, 1, 8, 9)}, r"layer 'infrared': found shape \(2, 1, 8, 9\)"),
    ],
)
def test_a_predictor_asks_for_the_layers_of_its_network(run, plugins, layers, sentence):
    predictor = load_predictor(run, device="cpu", plugins=plugins)
    dsm = torch.zeros(2, 1, 8, 8)
    with pytest.raises(DataError, match=sentence):
        predictor(dsm, dsm == 0, layers={name: torch.zeros(shape) for name, shape in layers.items()})


def test_a_network_of_the_dsm_takes_no_layers(plugins, tmp_path):
    train(tmp_path / "run", plugins, "data.layers=[]", "training.epochs=1")
    predictor = load_predictor(tmp_path / "run", device="cpu", plugins=plugins)
    dsm = torch.zeros(1, 1, 8, 8)
    with pytest.raises(DataError, match="needs the further layers none, found 'rgb'"):
        predictor(dsm, dsm == 0, layers={"rgb": torch.zeros(1, 3, 8, 8)})


def test_a_model_that_uses_no_layers_is_refused_before_training(plugins, tmp_path):
    changes = ['model.name="ground_unet"']
    with pytest.raises(ConfigError, match=r"GroundUNet uses no further input layers, and the data have 'rgb', 'infrared'.*unet"):
        try_run(config_of(tmp_path / "run", plugins, changes), plugins)
    with pytest.raises(ConfigError, match="GroundUNet uses no further input layers"):
        train(tmp_path / "run", plugins, *changes)
    assert not (tmp_path / "run").exists()


def test_a_tile_without_its_layer_is_named_and_nothing_is_written(plugins, tmp_path):
    with pytest.raises(PluginError, match="read sample 3 with the layers none, expected 'rgb', 'infrared'"):
        try_run(config_of(tmp_path / "run", plugins, ["data.lacking=3", "data.samples=4", "training.batch_size=4"]), plugins)
    assert not (tmp_path / "run").exists()


def test_weights_to_start_from_are_those_of_the_same_layers(run, plugins, tmp_path):
    train(tmp_path / "same", plugins, f"training.start={json.dumps(str(run))}", "training.epochs=1")
    with pytest.raises(ConfigError, match="the weights do not fit"):
        train(tmp_path / "other", plugins, f"training.start={json.dumps(str(run))}", 'data.layers=["rgb"]')
    assert not (tmp_path / "other").exists()


def test_an_exported_network_takes_the_dsm_alone(run, plugins):
    with pytest.raises(CheckpointError, match=r"needs the further layers .*, and exported networks take the DSM alone"):
        load_export_source(run, None, plugins, channels_last=False)
