"""Components inside components: read by name at any depth, recorded with their packages, built with the same arguments."""

from __future__ import annotations

import re
import tomllib

import pytest
import tomli_w
import torch

from forestgaps_core import load_config, load_predictor, resume_training, save_network, train_model
from forestgaps_core.config.explain import explain_topic
from forestgaps_core.config.reading import read_config
from forestgaps_core.config.writing import find_components, make_table
from forestgaps_core.errors import CheckpointError, ConfigError, PluginError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.kinds import build

from ..conftest import EXAMPLE_PLUGIN, default_plugins

NESTING = '''
from collections.abc import Mapping
from pathlib import Path

import torch
from attrs import field, frozen
from torch import nn

from forestgaps_core import Component, hookimpl


class Sum(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.trainable = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits, batch):
        return self.scale * sum(part(logits, batch) for part in self.parts)


@frozen(kw_only=True)
class Parts:
    """A sum."""

    parts: Mapping[str, Component["loss"]] = field(factory=dict, metadata={"help": "By label."})
    more: tuple[Component["loss"], ...] = field(default=(), metadata={"help": "Without labels."})
    one: Component["loss"] | None = field(default=None, metadata={"help": "One more."})
    table: Path = field(default=Path("weights.csv"), metadata={"help": "A file."})

    def build(self, build_inner):
        inner = [*self.parts.values(), *self.more, *([self.one] if self.one else [])]
        return Sum([build_inner(part) for part in inner])


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, dsm, valid, thresholds):
        return self.inner(dsm, valid, thresholds)


@frozen(kw_only=True)
class Around:
    """A network in a network."""

    inner: Component["model"] = field(metadata={"help": "The network."})

    def build(self, build_inner):
        return Wrapped(build_inner(self.inner))


@hookimpl
def forestgaps_losses():
    return {"parts": Parts}


@hookimpl
def forestgaps_models():
    return {"around": Around}
'''
BINARY = {"name": "binary"}
LOSS = {"name": "parts", "parts": {"a": BINARY}, "more": [BINARY, {"name": "parts", "one": BINARY}]}


@pytest.fixture
def nesting(tmp_path):
    path = tmp_path / "nesting.py"
    path.write_text(NESTING)
    return default_plugins(EXAMPLE_PLUGIN, path)


def with_loss(run_file, loss):
    table = tomllib.loads(run_file.read_text())
    run_file.write_text(tomli_w.dumps({**table, "loss": loss}))
    return run_file


def problems_of(run_file, plugins, loss):
    with pytest.raises(ConfigError) as caught:
        load_config(with_loss(run_file, loss), plugins=plugins)
    return caught.value.problems


def test_inner_components_are_read_and_recorded_at_every_place(run_file, nesting):
    config = load_config(with_loss(run_file, LOSS), plugins=nesting)
    assert {place: name for place, name in config.names.items() if place.startswith("loss")} == {
        "loss": "nesting.py:parts",
        "loss.parts.a": "example_plugin.py:binary",
        "loss.more[0]": "example_plugin.py:binary",
        "loss.more[1]": "nesting.py:parts",
        "loss.more[1].one": "example_plugin.py:binary",
    }
    components = find_components(config, nesting)
    assert components["loss.more[1].one"].full_name == "example_plugin.py:binary"


def test_the_resolved_run_file_writes_inner_components_with_their_full_names(run_file, nesting):
    config = load_config(with_loss(run_file, LOSS), plugins=nesting)
    text = tomli_w.dumps(make_table(config, nesting))
    table = tomllib.loads(text)
    assert table["loss"]["more"][1]["one"] == {"name": "example_plugin.py:binary", "focus": 0.0}
    again = read_config(table, nesting)
    assert again == config
    assert again.names == config.names


def test_every_mistake_has_its_place(run_file, nesting):
    loss = {
        "name": "parts",
        "parts": {"a": {"name": "binry"}, "b": {"focus": 1}},
        "more": [{"name": "binary"}, {"name": "binary", "focus": -1}, {"name": "falling"}],
        "one": {"name": "parts", "one": {"name": "binary", "foucs": 1}},
    }
    problems = problems_of(run_file, nesting, loss)
    places = [problem.partition(": ")[0] for problem in problems]
    expected = ["loss.more[1].focus", "loss.more[2].name", "loss.one.one.foucs", "loss.parts.a.name", "loss.parts.b.name"]
    assert places == expected
    assert "'falling' is a component of the kind scheduler, expected the kind loss" in problems[1]
    assert "did you mean 'binary'?" in problems[3]


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ({"name": "parts", "one": 3}, "loss.one: found 3, expected a table with the name of a loss"),
        ({"name": "parts", "more": {"name": "binary"}}, "loss.more: found .*, expected a list"),
        ({"name": "parts", "parts": [{"name": "binary"}]}, "loss.parts: found .*, expected a table"),
        ({"name": "parts", "one": {"name": 3}}, "loss.one.name: found 3, expected one of: binary, parts"),
    ],
)
def test_what_is_not_a_component_is_refused(run_file, nesting, loss, sentence):
    (problem,) = problems_of(run_file, nesting, loss)
    assert re.match(sentence, problem), problem


def test_too_many_components_in_one_another_are_refused(nesting):
    loss = {"name": "binary"}
    for _ in range(40):
        loss = {"name": "parts", "one": loss}
    with pytest.raises(ConfigError, match="more than 32 tables deep"):
        read_config({"loss": loss}, nesting, required=())


def test_explain_shows_a_component_as_its_kind(nesting):
    text = explain_topic("loss.parts", nesting)
    assert "parts = {}  # tables, each a loss" in text
    assert "more = []  # a list of tables, each a loss" in text
    assert "inner = (required)  # a model" in explain_topic("model.around", nesting)


def test_an_inner_component_that_asks_for_what_its_place_does_not_have_is_named(nesting):
    outer = nesting.component("loss", "parts").load()
    model = nesting.component("model", "net").load()
    with pytest.raises(PluginError, match="asks for 'normalization', which a loss is not given"):
        build("loss", outer(one=model()), {"thresholds": lambda: (2.0,)})


def test_a_run_records_inner_components_and_a_network_needs_their_packages(run_file, nesting, tmp_path):
    table = tomllib.loads(run_file.read_text())
    table |= {"loss": LOSS, "model": {"name": "around", "inner": {"name": "net", "width": 3}}}
    table["training"]["epochs"] = 1
    run_file.write_text(tomli_w.dumps(table))
    run = tmp_path / "run"
    train_model(load_config(run_file, plugins=nesting), run, plugins=nesting)
    about = load_checkpoint(run / "checkpoints" / "last.safetensors")["about"]
    assert about["components"]["model.inner"]["name"] == "net"
    assert about["components"]["loss.more[1].one"]["distribution"] == "example_plugin.py"
    folder = save_network(run, tmp_path / "network", plugins=nesting)
    question = (torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool))
    first, second = (load_predictor(place, device="cpu", plugins=nesting)(*question) for place in (run, folder))
    assert torch.equal(first, second)
    without = default_plugins(tmp_path / "nesting.py")
    with pytest.raises(CheckpointError, match=r"example_plugin\.py is not given"):
        load_predictor(folder, device="cpu", plugins=without)
    with pytest.raises(PluginError, match=r"example_plugin\.py is not given"):
        resume_training(run, plugins=without)
