"""A run whose parts are altered by a plugin, and components of a plugin's kind with labels."""

from __future__ import annotations

import pytest
import torch

from forestgaps_core import PluginError, load_config, load_predictor, save_network, train_model
from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.checkpoint import load_checkpoint

from ..conftest import EXAMPLE_PLUGIN, default_plugins

WRAPS = """
from torch import nn
from forestgaps_core import hookimpl

class Shifted(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.shift = network, nn.Parameter(network.last.bias.detach().mean() * 0)

    def forward(self, dsm, valid, thresholds):
        return self.network(dsm, valid, thresholds) + self.shift

class Same:
    def __init__(self, thing):
        self.thing = thing

    def __getattr__(self, name):
        return getattr(self.thing, name)

@hookimpl(wrapper=True)
def forestgaps_build(kind, context):
    built = yield
    if kind == "model":
        return Shifted(built)
    return Same(built) if kind == "metrics" else built
"""
BREAKS = """
from forestgaps_core import hookimpl

@hookimpl(tryfirst=True)
def forestgaps_build(kind):
    return 3 if kind == "loss" else None
"""
PROBES = """
from attrs import frozen
from forestgaps_core import Kind, hookimpl

@hookimpl
def forestgaps_kinds():
    arguments = dict.fromkeys(["data", "seed", "resolution_m", "thresholds", "batch_per_device", "total_steps", "steps_per_epoch",
                               "run_folder", "label"], "as a run gives it")
    return {"probes": Kind("what it was given", arguments, several=True)}

@hookimpl
def forestgaps_components():
    return {"probes": {"given": Given}}

@hookimpl
def forestgaps_callbacks():
    return {"noting": Noting}

@frozen(kw_only=True)
class Given:
    def build(self, data, seed, resolution_m, thresholds, batch_per_device, total_steps, steps_per_epoch, run_folder, label):
        lengths = [batch_per_device, total_steps, steps_per_epoch]
        return [len(data.train), seed, resolution_m, thresholds, *lengths, run_folder.name, label]

@frozen(kw_only=True)
class Noting:
    def build(self, probes, run_folder):
        return Notes(probes, run_folder)

class Notes:
    def __init__(self, probes, folder):
        self.probes, self.folder = probes, folder

    @hookimpl
    def fit_end(self, trainer):
        assert trainer.further["probes"] is self.probes
        (self.folder / "notes.txt").write_text(repr(self.probes))
"""


@pytest.fixture
def given(tmp_path):
    def load(name, source):
        path = tmp_path / name
        path.write_text(source)
        return default_plugins(EXAMPLE_PLUGIN, path)

    return load


def test_what_alters_a_network_is_recorded_and_needed_to_use_it(run_file, plugins, given, tmp_path):
    wrapping = given("wraps.py", WRAPS)
    folder = train_model(load_config(run_file, plugins=wrapping), tmp_path / "run", plugins=wrapping).folder
    components = load_checkpoint(folder / "checkpoints" / "last.safetensors")["about"]["components"]
    assert {place for place, about in components.items() if "altered_by" in about} == {"model", "metrics.share"}
    assert [*components["model"]["altered_by"]] == ["wraps.py"]
    save_network(folder, tmp_path / "network", plugins=wrapping)
    tiles = torch.rand(1, 1, 16, 16) * 20, torch.ones(1, 1, 16, 16, dtype=torch.bool)
    predictions = [load_predictor(path, device="cpu", plugins=wrapping)(*tiles) for path in (folder, tmp_path / "network")]
    assert torch.equal(*predictions)
    for path in (folder, tmp_path / "network"):
        with pytest.raises(CheckpointError, match=r"cannot be used: the local file wraps\.py is not given"):
            load_predictor(path, device="cpu", plugins=plugins)


def test_the_error_of_what_was_replaced_names_who_replaced_it(run_file, given, tmp_path):
    breaking = given("breaks.py", BREAKS)
    with pytest.raises(
        PluginError,
        match=r"loss Binary of \S+example_plugin\.py, line \d+ \(altered by breaks\.py sha256:\w+\) made a int, expected a `Loss`",
    ):
        train_model(load_config(run_file, plugins=breaking), tmp_path / "run", plugins=breaking)
    assert not (tmp_path / "run").exists()


def test_components_of_a_plugins_kind_get_what_they_ask_for(run_file, given, tmp_path):
    found = given("probes.py", PROBES)
    text = (
        run_file.read_text()
        + '[probes.one]\nname = "given"\n[probes.two]\nname = "given"\n[callbacks.notes_of_probes]\nname = "noting"\n'
    )
    run_file.write_text(text)
    train_model(load_config(run_file, plugins=found), tmp_path / "run", plugins=found)
    common = [10, 0, 1.0, (2.0, 5.0, 10.0), 3, 12, 4, "run"]
    assert (tmp_path / "run" / "notes.txt").read_text() == repr({"one": [*common, "one"], "two": [*common, "two"]})
    resolved = (tmp_path / "run" / "run.toml").read_text()
    assert '[probes.one]\nname = "probes.py:given"' in resolved
