"""`forestgaps plugins check`: every row of every table that a plugin offers, held against what its kind promises.

A verdict is "right", what is wrong, or what was not checked and why. Nothing is called right that was not tried.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from forestgaps_core.config.inheritance import read_run_file
from forestgaps_core.config.run_file import list_sections
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.inference.model_folder import is_model_folder, load_trained_network
from forestgaps_core.kinds import TABLES, USES_FURTHER_KINDS, Kind
from forestgaps_core.plugins.builds import BUILD_HOOK
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.isolation import read_message
from forestgaps_core.plugins.names import ComponentOffer, Offer, Plugin, format_error, full_name, load_target
from forestgaps_core.plugins.provenance import list_components
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.checks import check_component as check_rules
from forestgaps_core.testing.checks import check_config, load_rules
from forestgaps_core.testing.rules.config import check_config_class

MANY_MODULES = 40  # of one other package; torch has 1,500, numpy 150
CORE_NEEDS = ("forestgaps_core", "pluggy", "attr", "attrs", "packaging", "typing_extensions")
COUNT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
import forestgaps_core.hookspecs, forestgaps_core.components
before = set(sys.modules)
module = __import__("importlib").import_module(sys.argv[1])
for name, hook in list(vars(module).items()):  # getattr would import what the module exports on first use
    if name.startswith("forestgaps_") and name != "forestgaps_build" and callable(hook) and hasattr(hook, "forestgaps_impl"):
        hook()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@frozen
class Verdict:
    """On one row of a table.

    Attributes:
        place: Such as `loss.focal`, `command predict` or `table`.
        problem: What is wrong, or ''.
        unchecked: What was not checked, with the reason, or ''.
    """

    place: str
    problem: str = ""
    unchecked: str = ""

    @property
    def wrong(self) -> bool:
        return bool(self.problem)

    def __str__(self) -> str:
        return f"{self.place}: {self.problem or (f'not checked: {self.unchecked}' if self.unchecked else 'right')}"


class NotCheckedError(Exception):
    """A reason why something could not be checked."""


def check_plugin(plugins: Plugins, plugin: Plugin) -> Iterator[Verdict]:
    """Yield a verdict on the plugin's table and on everything that it offers."""
    rows = [
        (kind, c) for kind in plugins.kinds for offers in plugins.components(kind).values() for c in offers if c.plugin is plugin
    ]
    records = [(table, o) for table in TABLES for offers in plugins.offers(table).values() for o in offers if o.plugin is plugin]
    if plugin.failed:  # a row that is malformed is in none of the tables
        yield Verdict("table", plugin.reason)
    else:
        yield reach_verdict("table", check_table, plugin)
    for kind, component in rows:
        yield reach_verdict(f"{kind}.{component.name}", check_component, plugins, kind, component)
    for name in [name for name, owner in plugins.further_kinds.items() if owner is plugin]:
        yield reach_verdict(f"kind {name}", check_kind, name, plugins.kinds[name])
    if plugin in plugins.list_altering():
        yield Verdict(BUILD_HOOK, unchecked="what it alters, which depends on the run")
    for table, offer in records:
        yield reach_verdict(f"{table} {offer.name}", RECORD_CHECKS[table], plugins, offer)


def reach_verdict(place: str, check: Any, *arguments: Any) -> Verdict:
    try:
        check(*arguments)
    except NotCheckedError as reason:
        return Verdict(place, unchecked=str(reason))
    except (Exception, SystemExit) as error:  # code of a plugin may fail in any way
        return Verdict(
            place, problem=read_message(error) if isinstance(error, ForestgapsError | AssertionError) else format_error(error)
        )
    return Verdict(place)


# --- the table ------------------------------------------------------------------------------------------------------


def check_table(plugin: Plugin) -> None:
    """That listing what a plugin offers imports nothing heavy, which every command would wait for."""
    if plugin.path is not None and plugin.path.is_file():
        raise NotCheckedError("what a local file imports, since it holds its components itself")
    search = [str(plugin.path / "src"), str(plugin.path)] if plugin.path is not None else []
    line = [sys.executable, "-c", COUNT, plugin.module, json.dumps([*search, *sys.path])]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCheckedError(f"what it imports: {' '.join(done.stderr.split())[-200:] or f'status {done.returncode}'}")
    counts: dict[str, int] = {}
    for name in json.loads(done.stdout.splitlines()[-1]):
        counts[name.partition(".")[0]] = counts.get(name.partition(".")[0], 0) + 1
    own = plugin.module.partition(".")[0]
    heavy = [
        package
        for package, count in sorted(counts.items(), key=lambda item: -item[1])
        if count > MANY_MODULES and package not in (own, *CORE_NEEDS) and package not in sys.stdlib_module_names
    ]
    if heavy:
        raise AssertionError(
            f"{plugin.module} imports {', '.join(heavy)}, which every command then waits for; name targets as "
            "'package.module:Class' and import them there"
        )


def check_kind(name: str, kind: Kind) -> None:
    """That its check is a function, or a list of functions."""
    load_rules(name, kind)
    if not kind.makes.strip():
        raise AssertionError("makes is empty; write what build returns")


# --- components -----------------------------------------------------------------------------------------------------


def check_component(plugins: Plugins, kind: str, component: ComponentOffer) -> None:
    config_class = component.load()
    further = plugins.further_kinds if kind in USES_FURTHER_KINDS else {}
    check_build(kind, config_class, {*plugins.kinds[kind].arguments, *further})
    required = [a.name for a in attrs.fields(view_settings(config_class)) if a.init and a.default is attrs.NOTHING]
    if required:
        check_config_class(config_class)
        raise NotCheckedError(f"what it builds, which needs {', '.join(required)}; test it with forestgaps_core.testing")
    config = config_class()
    check_config(config)
    if not plugins.kinds[kind].check:
        raise NotCheckedError(f"what it builds: the kind {kind} declares no check")
    try:
        check_rules(kind, config, known=plugins.kinds)
    except ForestgapsError as error:  # it asks for something that is not there, such as a folder of data or another setting
        raise NotCheckedError(f"what it builds: {format_error(error)}") from error


def check_build(kind: str, config_class: type, known: set[str]) -> None:
    for parameter in list(inspect.signature(config_class.build).parameters.values())[1:]:  # type: ignore[attr-defined]
        asked = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        if asked and parameter.name not in (*known, "build_inner"):
            raise AssertionError(
                f"build asks for {parameter.name!r}, which a {kind} is not given; there is: {', '.join(sorted(known))}"
            )


# --- other tables ---------------------------------------------------------------------------------------------------


def check_command(plugins: Plugins, offer: Offer) -> None:
    """That it is imported, and that its options can be read."""
    import typer

    function = load_target(offer.record.target, f"the command {offer.name!r}")
    if not callable(function):
        raise AssertionError(f"{offer.record.target} is a {type(function).__name__}, expected a function")
    app = typer.Typer(add_completion=False)
    app.command(offer.name)(function)
    typer.main.get_command(app)
    if not (inspect.getdoc(function) or "").strip():
        raise AssertionError(f"{offer.record.target} has no docstring, which --help would show")
    if not offer.record.help.strip():
        raise AssertionError("it has no help, which `forestgaps --help` would show")


def check_recipe(plugins: Plugins, offer: Offer) -> None:
    """That it is a run file whose components can be had and whose settings are right."""
    from forestgaps_core.config.reading import read_config

    path = find_resource(offer.record.target)
    if not path.is_file():
        raise AssertionError(f"{path} is missing")
    table, _ = read_run_file(path)
    lacking = [
        name for _, kind, name in list_components(table, plugins.kinds) if name.rpartition(":")[2] not in plugins.components(kind)
    ]
    if lacking:
        unknown = [key for key in table if key not in list_sections(plugins)]
        assert not unknown, f"{path} has unknown tables: {', '.join(unknown)}"
        raise NotCheckedError(f"its settings: no installed package offers {', '.join(lacking)}")
    read_config(table, plugins, source=str(path), folder=path.parent)


def check_network(plugins: Plugins, offer: Offer) -> None:
    """That its folder is whole, and that its network can be built and takes its weights."""
    from forestgaps_core.inference.predictor import load_predictor

    path = find_resource(offer.record.target)
    if not is_model_folder(path):
        raise AssertionError(f"there is no network.json in {path}")
    load_trained_network(path, plugins=plugins)
    load_predictor(path, device="cpu", plugins=plugins)


def check_executor(plugins: Plugins, offer: Offer) -> None:
    made = load_target(offer.record, f"the executor for {offer.name}://")
    if not callable(made):
        raise AssertionError(f"{offer.record} is a {type(made).__name__}, expected a function of an address")
    inspect.signature(made).bind(f"{offer.name}://host:1")
    raise NotCheckedError("whether it computes, which needs workers at an address")


def check_engine(plugins: Plugins, offer: Offer) -> None:
    engine = plugins.engine(full_name(offer))
    if not isinstance(getattr(engine, "data_only", None), bool):
        raise AssertionError("it has no attribute data_only that is true or false")
    if not callable(getattr(engine, "open", None)):
        raise AssertionError("it has no method open(data, program)")
    inspect.signature(engine.open).bind(b"", None)
    raise NotCheckedError("whether it runs a network, which needs an exported one")


def find_resource(target: str) -> Path:
    """Return the place of `package:file`."""
    package, _, name = target.partition(":")
    return Path(str(files(import_module(package)))) / name


RECORD_CHECKS: dict[str, Any] = {
    "command": check_command,
    "recipe": check_recipe,
    "network": check_network,
    "executor": check_executor,
    "engine": check_engine,
}
