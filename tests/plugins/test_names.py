"""One rule for names in every table: a clash is an error for whoever uses the short name, `distribution:name` chooses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forestgaps_core.cli.app import app
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.reading import read_config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import CheckpointError, ConfigError, PluginError
from forestgaps_core.inference.model_folder import locate_network
from forestgaps_core.kinds import TABLES
from forestgaps_core.plugins.registry import CORE_COMMANDS, Plugins

OFFERS_ALL = '''
from attrs import field, frozen
from forestgaps_core import Command, Pretrained, Recipe, hookimpl

@frozen(kw_only=True)
class Mine:
    """A component of MODULE."""
    size: int = field(default=1, metadata={"help": "Any."})
    def build(self):
        return None

def here(address="", to="nowhere"):
    """What MODULE does."""
    print("MODULE was called")

class Paper:
    data_only = True

def one():
    return {"mine": "MODULE:Mine"}

@hookimpl
def forestgaps_data():
    return one()
@hookimpl
def forestgaps_models():
    return one()
@hookimpl
def forestgaps_normalizations():
    return one()
@hookimpl
def forestgaps_losses():
    return one()
@hookimpl
def forestgaps_schedulers():
    return one()
@hookimpl
def forestgaps_metrics():
    return one()
@hookimpl
def forestgaps_callbacks():
    return one()
@hookimpl
def forestgaps_commands():
    return {"mine": Command("MODULE:here", "Of MODULE."), "train": Command("MODULE:here", "Trains MODULE.")}
@hookimpl
def forestgaps_recipes():
    return {"mine": Recipe("MODULE:mine.toml", "Of MODULE.")}
@hookimpl
def forestgaps_networks():
    return {"mine": Pretrained("MODULE:mine", "Of MODULE.")}
@hookimpl
def forestgaps_executors():
    return {"mine": "MODULE:here"}
@hookimpl
def forestgaps_engines():
    return {"mine": "MODULE:Paper"}
'''
KINDS_ASKED = ["data", "model", "normalization", "loss", "scheduler", "metrics", "callbacks"]
RUN = {kind: {"name": "mine"} for kind in ("data", "model", "normalization", "loss", "scheduler")} | {
    "metrics": {"a": {"name": "mine"}},
    "callbacks": {"b": {"name": "mine"}},
}


@pytest.fixture
def one(site) -> Plugins:
    site("t-one", OFFERS_ALL)
    return Plugins.discover()


@pytest.fixture
def both(one, site) -> Plugins:
    site("t-two", OFFERS_ALL, version="2.0")
    return Plugins.discover()


@pytest.mark.parametrize("kind", KINDS_ASKED)
def test_a_component_of_two_packages_must_be_chosen(kind, both):
    with pytest.raises(PluginError, match=r"'mine' is offered by t-one 1.0 and t-two 2.0; choose with name = \"t-one:mine\" or"):
        both.component(kind, "mine")
    assert both.component(kind, "t-two:mine").load().__module__ == "t_two"
    assert both.component(kind, "T_Two:mine").plugin.distribution == "t-two"


@pytest.mark.parametrize("table", TABLES)
def test_a_record_of_two_packages_must_be_chosen(table, both):
    with pytest.raises(
        PluginError, match=r"'mine' is offered by t-one 1.0 and t-two 2.0; choose with .*t-one:mine.* or .*t-two:mine"
    ):
        both.offer(table, "mine")
    assert str(both.offer(table, "t-two:mine").plugin) == "t-two 2.0"
    assert {"t-one:mine", "t-two:mine"} <= both.usable(table).keys()
    assert "mine" not in both.usable(table)


def test_executors_engines_and_networks_are_loaded_by_the_same_rule(both, tmp_path):
    with pytest.raises(PluginError, match=r"offered by t-one 1.0 and t-two 2.0; choose with t-one:mine:// or t-two:mine://"):
        both.executor("mine")
    assert both.executor("t-two:mine").__module__ == "t_two"
    with pytest.raises(PluginError, match=r"--engine t-one:mine or --engine t-two:mine"):
        both.engine("mine")
    assert both.engine("t-one:mine").data_only
    with pytest.raises(CheckpointError, match="choose with t-one:mine or t-two:mine"):
        locate_network("mine", both)
    with pytest.raises(CheckpointError, match=r"network .t-two:mine. of t-two 2.0: "):
        locate_network("t-two:mine", both)


def test_every_mistake_of_a_clash_is_reported_with_its_place(both):
    with pytest.raises(ConfigError) as error:
        read_config(RUN, both)
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "data.name", "model.name", "normalization.name", "loss.name", "scheduler.name", "metrics.a.name", "callbacks.b.name",
    ]  # fmt: skip


def test_what_was_recorded_stays_what_it_is_when_another_package_comes(one, both):
    recorded = make_table(read_config(RUN, one), one)
    assert recorded["loss"]["name"] == "t-one:mine"
    assert recorded["metrics"]["a"]["name"] == "t-one:mine"
    again = read_config(recorded, both)
    assert make_table(again, both) == recorded
    assert type(again.loss).__module__ == "t_one"


def test_two_packages_that_offer_one_class_are_distinguished_by_what_was_chosen(one, site):
    site("a-fork", 'from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {"mine": "t_one:Mine"}\n')
    plugins = Plugins.discover()
    assert make_table(read_config(RUN | {"loss": {"name": "a-fork:mine"}}, plugins), plugins)["loss"]["name"] == "a-fork:mine"
    # Made in Python, without a name: the package that the class is in.
    assert plugins.component_of("loss", one.component("loss", "mine").load()()).plugin.distribution == "t-one"


@pytest.mark.parametrize(
    ("change", "size"),
    [("loss.name=t-two:mine", 5), ("loss.name=mine", 5), ("loss.name=other", None), ("loss.name=t-two:other", None)],
)
def test_choosing_the_package_on_the_command_line_keeps_the_settings(change, size):
    assert apply_overrides({"loss": {"name": "mine", "size": 5}}, [change])["loss"].get("size") == size
    other = {"loss": {"name": "t-one:mine", "size": 5}}
    assert apply_overrides(other, ["loss.name=t-two:mine"])["loss"] == {"name": "t-two:mine"}


def test_a_package_that_is_not_there_is_named_with_the_command_that_installs_it(one):
    with pytest.raises(PluginError, match=r"'canopy-extras:mine': canopy-extras is not installed; pip install canopy-extras$"):
        one.component("loss", "canopy-extras:mine")
    with pytest.raises(PluginError, match=r"no loss named 'mime' in t-one 1.0 \(did you mean 'mine'\?\); it offers: mine"):
        one.component("loss", "t-one:mime")
    with pytest.raises(PluginError) as error:  # nothing that a shell would take for more than a name
        one.component("loss", "x; rm -rf ~:mine")
    assert "pip" not in str(error.value)


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command_line(both, monkeypatch, capsys):
    from forestgaps_core.cli.commands import installed

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(installed, "_found", [Plugins.discover()])
        try:
            app(list(words), standalone_mode=False)
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def test_the_commands_that_the_core_reserves_are_its_own():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names | {group.name for group in app.registered_groups} == CORE_COMMANDS


def test_a_command_of_two_packages_is_an_error_and_its_full_name_calls_it(command_line):
    with pytest.raises(PluginError, match=r"'mine' is offered by t-one 1.0 and t-two 2.0; choose with forestgaps t-one:mine or"):
        command_line("mine")
    assert command_line("t-two:mine")[:2] == (0, "t_two was called\n")
    _, out, _ = command_line("--help")
    assert "t-one:mine" in out
    assert "t-two:mine" in out
    assert "t-one:train" in out


def test_a_command_of_the_core_stays_the_cores(command_line):
    assert "Train a network." in command_line("train", "--help")[1]
    assert "Train a network." in command_line("forestgaps-core:train", "--help")[1]
    assert command_line("t-one:train")[1] == "t_one was called\n"


def test_lists_show_clashes_of_every_table(command_line):
    _, out, _ = command_line("plugins", "list")
    for place in [*KINDS_ASKED, *TABLES]:
        assert any(line.startswith(f"CLASH: {place}") and "mine is offered by t-one 1.0 and t-two 2.0" in line
                   for line in out.splitlines()), place  # fmt: skip
    assert "CLASH: command train is the core's own and is offered by t-one 1.0 and t-two 2.0" in out
    _, out, _ = command_line("plugins", "show", "t-one")
    for row in ("loss.mine", "command mine", "recipe mine", "network mine", "executor mine", "engine mine"):
        assert row in out, row
    clashes = json.loads(command_line("plugins", "list", "--json")[1])
    assert next(row for row in clashes if row["distribution"] == "t-two")["works"]


def test_a_recipe_of_two_packages_must_be_chosen(command_line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"choose with --recipe t-one:mine or --recipe t-two:mine"):
        command_line("config", "init", "--recipe", "mine")
    with pytest.raises(PluginError, match=r"the recipe 'mine' of t-two 2.0"):
        command_line("config", "init", "--recipe", "t-two:mine")
    assert "t-one:mine" in command_line("config", "init", "--recipe", "list")[1]
    assert not Path("run.toml").exists()
