"""Rows that are wrong are reported by name and leave the others alone; nothing is called right that was not tried."""

from __future__ import annotations

import sys

import pytest

from forestgaps_core.config.explain import explain_topic, plot_schedules
from forestgaps_core.config.reading import read_config
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.plugin_checks import check_plugin

from ..conftest import EXAMPLE_PLUGIN

ROWS = '''
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from attrs import define, field, frozen
from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from elsewhere import Unknown

@dataclass(kw_only=True)
class AsDataclass:
    """A dataclass."""
    gamma: float = 2.0
    def build(self):
        return None

class Plain:
    """A plain class."""
    def build(self):
        return None

def function(gamma=2.0):
    return None

an_object = object()

@frozen(kw_only=True)
class WithoutBuild:
    """No build."""

@frozen(kw_only=True)
class Unresolved:
    """An annotation that cannot be read."""
    value: Unknown = field(default=None, metadata={"help": "Any."})
    def build(self):
        return None

@frozen(kw_only=True)
class OddField:
    """A field of a type that no run file has."""
    value: complex = field(default=1j, metadata={"help": "Any."})
    def build(self):
        return None

@frozen(kw_only=True)
class Explodes:
    """Raises when it is made."""
    value: int = field(default=1, metadata={"help": "Any."})
    def __attrs_post_init__(self):
        raise KeyError("no such key")
    def build(self):
        return None

@frozen(kw_only=True)
class Fine:
    """A loss that works."""
    gamma: float = field(default=2.0, metadata={"help": "Focusing parameter."})
    def build(self):
        def fine(logits, batch):
            cost = (logits.sigmoid() - batch.target).square() * batch.valid
            return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)
        return fine

@hookimpl
def forestgaps_losses():
    names = ["AsDataclass", "Plain", "function", "an_object", "WithoutBuild", "Unresolved", "OddField", "Explodes", "Fine"]
    table = {name.lower(): f"MODULE:{name}" for name in names}
    return {**table, "module": "torch.nn:Linear", "gone": "MODULE:Gone", "Bad Name": "MODULE:Fine", "bad_target": 7}
'''
EXPECTED = {
    "asdataclass": "is a dataclass that is not frozen (AsDataclass); use dataclass(frozen=True)",
    "plain": "is a class without attrs that has a method build: decorate it",
    "function": "takes (gamma) before its settings; a loss is called with (logits, batch)",
    "an_object": "is an object of type object, expected",
    "withoutbuild": "has no method build; add one",
    "unresolved": "has an annotation that cannot be read (NameError: name 'Unknown' is not defined)",
    "module": "takes 'in_features' before the *, which a loss is not given; there is: thresholds, gap_fraction, context",
    "gone": "has no 'Gone'",
}
FAILS_LATER = {"oddfield": "cannot be read: StructureHandlerNotFoundError", "explodes": "cannot be read: KeyError: 'no such key'"}


@pytest.fixture
def rows(site) -> Plugins:
    site("t-rows", ROWS)
    plugins = Plugins.discover()
    plugins.add_file(EXAMPLE_PLUGIN)
    return plugins


@pytest.mark.parametrize(("name", "words"), EXPECTED.items())
def test_what_is_no_config_class_is_refused_with_what_was_found_and_expected(rows, name, words):
    with pytest.raises(PluginError) as error:
        rows.component("loss", name).load()
    assert str(error.value).startswith(f"the loss {name!r} of t-rows 1.0: ")
    assert words in str(error.value)


@pytest.mark.parametrize(("name", "words"), [*EXPECTED.items(), *FAILS_LATER.items()])
def test_a_run_file_with_such_a_row_gets_a_mistake_with_its_place(rows, name, words):
    table = {"data": {"name": "hills"}, "model": {"name": "net"}, "loss": {"name": f"t-rows:{name}", "value": 1}}
    with pytest.raises(ConfigError) as error:
        read_config(table, rows)
    (problem,) = error.value.problems
    assert problem.startswith("loss")
    assert "t-rows" in problem
    assert words in problem


def test_bad_rows_do_not_keep_the_others_from_being_explained(rows):
    lines = {line.partition("  ")[0]: line for line in explain_topic("loss", rows).splitlines()}
    assert "A loss that works." in lines["loss.fine"]
    for name, words in EXPECTED.items():
        assert "BROKEN: " in lines[f"loss.{name}"]
        assert words in lines[f"loss.{name}"]
    assert "gamma = 2.0" in explain_topic("loss.fine", rows)
    with pytest.raises(PluginError, match="is a dataclass"):
        explain_topic("loss.asdataclass", rows)


def test_a_bad_schedule_does_not_keep_the_others_from_being_drawn(site):
    site("t-schedules", ROWS.replace("forestgaps_losses", "forestgaps_schedulers"))
    plugins = Plugins.discover()
    plugins.add_file(EXAMPLE_PLUGIN)
    drawn = plot_schedules("scheduler", plugins)
    assert "scheduler.falling: factor on the learning rate" in drawn
    assert "scheduler.asdataclass cannot be drawn: " in drawn


def verdicts(plugins: Plugins, name: str) -> dict[str, str]:
    (plugin,) = [plugin for plugin in plugins.records if plugin.distribution == name]
    return {verdict.place: str(verdict).partition(": ")[2] for verdict in check_plugin(plugins, plugin)}


def test_every_row_gets_a_verdict_of_its_own(rows):
    found = verdicts(rows, "t-rows")
    assert found["loss.fine"] == "right"
    for name, words in EXPECTED.items():
        assert words in found[f"loss.{name}"]
    assert "forestgaps_losses offers 'bad_target': the target 7" in found["table"]
    assert found["loss.explodes"] == "KeyError: 'no such key'"


OTHERS = '''
from pathlib import Path
from attrs import field, frozen
from forestgaps_core import Command, DataError, Pretrained, Recipe, hookimpl

@frozen(kw_only=True)
class Required:
    """Needs a setting."""
    size: int = field(metadata={"help": "Any."})
    def build(self):
        raise ValueError("never called")

@frozen(kw_only=True)
class Undocumented:
    """Needs a setting, whose help is missing."""
    size: int
    def build(self):
        return None

@frozen(kw_only=True)
class Asks:
    """Asks for what it is not given."""
    size: int = field(metadata={"help": "Any."})
    def build(self, weather):
        return None

@frozen(kw_only=True)
class Elsewhere:
    """Data in a folder that is not there."""
    folder: Path = field(default=Path("/nowhere"), metadata={"help": "Folder."})
    def build(self):
        raise DataError(f"{self.folder} does not exist; prepare it first")

@frozen(kw_only=True)
class Wrong:
    """Data that cannot be built."""
    def build(self):
        raise ZeroDivisionError("wrong")

def documented(place: str, count: int = 1):
    """Do something."""

def undocumented(place: str):
    pass

class Engine:
    data_only = True
    def open(self, data, program):
        return None

class NoEngine:
    data_only = "yes"

def executor(address):
    return None

@hookimpl
def forestgaps_losses():
    return {"required": "MODULE:Required", "undocumented": "MODULE:Undocumented", "asks": "MODULE:Asks"}
@hookimpl
def forestgaps_data():
    return {"elsewhere": "MODULE:Elsewhere", "wrong": "MODULE:Wrong"}
@hookimpl
def forestgaps_commands():
    return {"do-it": Command("MODULE:documented", "Does it."), "do-that": Command("MODULE:undocumented", "Does that."),
            "gone": Command("MODULE:gone", "Gone.")}
@hookimpl
def forestgaps_recipes():
    return {"gone": Recipe("forestgaps_core:gone.toml", "Gone.")}
@hookimpl
def forestgaps_networks():
    return {"gone": Pretrained("forestgaps_core:gone", "Gone.")}
@hookimpl
def forestgaps_executors():
    return {"far": "MODULE:executor", "near": "MODULE:Required"}
@hookimpl
def forestgaps_engines():
    return {"paper": "MODULE:Engine", "none": "MODULE:NoEngine"}
'''


def test_what_cannot_be_tried_is_not_called_right(site):
    site("t-others", OTHERS)
    found = verdicts(Plugins.discover(), "t-others")
    expected = {
        "table": "right",
        "loss.required": "not checked: what it builds, which needs size",
        "loss.undocumented": "has no metadata={'help': ...}",
        "loss.asks": "build asks for 'weather', which a loss is not given",
        "data.elsewhere": "not checked: what it builds: DataError: /nowhere does not exist",
        "data.wrong": "ZeroDivisionError: wrong",
        "command do-it": "right",
        "command do-that": "has no docstring",
        "command gone": "has no 'gone'",
        "recipe gone": "gone.toml is missing",
        "network gone": "there is no network.json in",
        "executor far": "not checked: whether it computes, which needs workers",
        "executor near": "TypeError",
        "engine paper": "not checked: whether it runs a network",
        "engine none": "data_only that is true or false",
    }
    assert found.keys() == expected.keys()
    for place, words in expected.items():
        assert words in found[place], (place, found[place])


HEAVY = "from forestgaps_core import hookimpl\nIMPORT\n@hookimpl\ndef forestgaps_losses():\n    INSIDE\n    return {}\n"


@pytest.mark.parametrize(
    ("top", "inside", "verdict"),
    [
        ("import torch", "pass", "imports torch"),
        ("", "import numpy", "imports numpy"),
        ("import asyncio, unittest.mock, attrs", "pass", "right"),
        (
            "def __getattr__(name):\n    import torch\n    return 1\ndef __dir__():\n    return [*globals(), 'Loss']",
            "pass",
            "right",
        ),
    ],
    ids=["at the top", "in the hook", "of the standard library", "on first use of a name"],
)
def test_a_table_that_imports_what_every_command_waits_for_is_reported(site, top, inside, verdict, monkeypatch, tmp_path):
    site("t-heavy", HEAVY.replace("IMPORT", top).replace("INSIDE", inside))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    assert verdict in verdicts(Plugins.discover(), "t-heavy")["table"]
