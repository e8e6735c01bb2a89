"""Finding plugins: discovery through entry points, isolation of broken ones, and who offers which name.

A plugin is a distribution with one entry point in the group `forestgaps` that points at a thin module of hook
implementations. Loading goes in stages (requirement, import, hooks); a plugin that fails at one of them is rolled back and
kept as a record, so that everything that does not need it goes on. Reading the tables costs no import of torch: targets are
strings, imported when a run file says their name.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from attrs import define, field, frozen

from forestgaps_core import __version__
from forestgaps_core.bounded_reading import MAX_TEXT_BYTES, read_bytes, read_text
from forestgaps_core.components import KINDS, Command, Engine, Executor, Pretrained, Recipe
from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.hookspecs import PROJECT, PluginHooks
from forestgaps_core.importing import contained, seconds_allowed

CORE = "forestgaps-core"
GROUP = "forestgaps"
NAME = re.compile(r"[a-z][a-z0-9_]*")
COMMAND_NAME = re.compile(r"[a-z][a-z0-9-]*")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@define
class Plugin:
    """What is known of one plugin.

    Attributes:
        distribution: Name of the distribution, or of the local file.
        version: Its version; for a local file `sha256:` and the first digits of its hash.
        failed: The stage that failed ("requirement", "import", "hooks", "table"), or None.
        reason: Why, in one sentence; '' when it works.
        path: The local file, if it is one.
    """

    distribution: str
    version: str
    failed: str | None = None
    reason: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def fail(self, stage: str, reason: str) -> None:
        self.failed, self.reason = stage, reason


@frozen
class Component:
    """A name some plugin offers."""

    kind: str
    name: str
    target: str | type
    plugin: Plugin

    def load(self) -> type:
        """Import the config class.

        Raises:
            PluginError: It cannot be imported; the message names the package.
        """
        if isinstance(self.target, type):
            return self.target
        loaded = load_target(self.target, f"the {self.kind} {self.name!r} of {self.plugin}")
        if not isinstance(loaded, type):
            raise PluginError(f"the {self.kind} {self.name!r} of {self.plugin}: {self.target} is no class")
        return loaded

    @property
    def place(self) -> str:
        """`module:Class`, whether it is loaded or not."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"


def load_target(target: str, what: str) -> Any:
    """What `module:attribute` names, imported as `contained` says.

    Raises:
        PluginError: It cannot be had; begins with `what`.
    """
    module_name, _, attribute = target.partition(":")
    try:
        with contained(what), torch_kept(what):
            module = import_module(module_name)
            if hasattr(module, attribute):
                return getattr(module, attribute)
    except Exception as error:
        raise PluginError(f"{what} cannot be imported from {target}: {one_line(error)}; reinstall or update the package") from error
    raise PluginError(f"{what}: {module_name} has no {attribute!r}{nearest(attribute, dir(module))}")


def torch_kept(what: str) -> AbstractContextManager[None]:
    """Torch's settings are put back after the block, where torch is imported already."""
    if "torch" not in sys.modules:
        return nullcontext()
    from forestgaps_core.environment import torch_kept as kept

    return kept(what)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 200 else text[:197] + "...")


def normalized(distribution: str) -> str:
    """A distribution's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@define(eq=False)
class Plugins:
    """The plugins of this process.

    Make it with `Plugins.discover()`; a plain `Plugins()` knows none.
    """

    records: list[Plugin] = field(factory=list)
    _manager: pluggy.PluginManager = field(init=False)
    _tables: dict[str, dict[str, list[Component]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(PluginHooks)

    @classmethod
    def discover(cls, local: Iterable[Path] = ()) -> Plugins:
        """Load every installed plugin and these local files.

        Raises:
            PluginError: A local file cannot be used. Installed plugins never raise.
            ConfigError: The time that an import may take is no number.
        """
        seconds_allowed()
        plugins = cls()
        found = importlib.metadata.entry_points(group=GROUP)
        for point in sorted(found, key=lambda point: (normalized(point.dist.name if point.dist else point.name), point.name)):
            plugins.add_entry_point(point)
        for path in local:
            plugins.add_file(path)
        return plugins

    # --- loading ----------------------------------------------------------------------------------------------------

    def add_entry_point(self, point: importlib.metadata.EntryPoint) -> None:
        distribution = point.dist
        plugin = Plugin(
            normalized(distribution.name) if distribution else point.name, distribution.version if distribution else "?"
        )
        if any(record.distribution == plugin.distribution for record in self.records):
            plugin.fail(
                "hooks", f"has more than one entry point in the group {GROUP!r} ({point.name!r} is the second); one is allowed"
            )
        elif wrong := unmet_requirement(distribution.requires or [] if distribution else []):
            plugin.fail("requirement", wrong)
        else:
            self.register(point.load, plugin)
        self.records.append(plugin)

    def add_file(self, path: Path) -> None:
        """Load local code that is not packaged; it may offer classes instead of strings."""
        import hashlib
        import importlib.util  # only local files need these two, and they take a tenth of the start-up

        if not path.is_file():
            raise PluginError(f"-p {path}: no such file")
        try:
            digest = hashlib.sha256(read_bytes(path, MAX_TEXT_BYTES)).hexdigest()
        except OSError as error:
            raise PluginError(f"-p {path}: cannot be read: {error.strerror}") from error
        plugin = Plugin(path.name, f"sha256:{digest[:12]}", path=path)
        name = f"forestgaps_local_{path.stem}_{digest[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PluginError(f"-p {path}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # attrs and pickle look classes up by their module
        loader = spec.loader

        def load() -> ModuleType:
            loader.exec_module(module)
            return module

        self.register(load, plugin)
        if plugin.failed:
            del sys.modules[name]
            raise PluginError(f"-p {path}: {plugin.reason}")
        self.records.append(plugin)

    def add_folder(self, folder: Path) -> Plugin:
        """Load a plugin from the folder of its project file, without installing it.

        Raises:
            PluginError: There is no project file with one entry point of the group.
        """
        try:
            project = tomllib.loads(read_text(folder / "pyproject.toml"))["project"]
            points = project["entry-points"][GROUP]
        except (OSError, KeyError, ValueError) as error:
            raise PluginError(f"{folder}: no pyproject.toml with [project.entry-points.{GROUP}] ({one_line(error)})") from error
        plugin = Plugin(normalized(project["name"]), str(project.get("version", "?")), path=folder)
        self.records = [record for record in self.records if record.distribution != plugin.distribution]
        if self._manager.has_plugin(plugin.distribution):  # the folder's own, rather than what is installed of it
            self._manager.unregister(name=plugin.distribution)
        sys.path[:0] = [str(folder / "src"), str(folder)]
        if wrong := unmet_requirement(project.get("dependencies", [])):
            plugin.fail("requirement", wrong)
        elif len(points) != 1:
            plugin.fail("hooks", f"has {len(points)} entry points in the group {GROUP!r}; one is allowed")
        else:
            self.register(partial(import_module, next(iter(points.values()))), plugin)
        self.records.append(plugin)
        return plugin

    def register(self, load: Callable[[], ModuleType], plugin: Plugin) -> None:
        """Import a plugin's module and take its hooks; on failure nothing of it stays but the record."""
        stage = "import"
        try:
            with contained(f"the plugin {plugin}"), torch_kept(f"the plugin {plugin}"):
                module = load()
                stage = "hooks"
                if wrong := misspelt_hooks(self._manager, module):
                    raise PluginError(wrong)
                self._manager.register(module, name=plugin.distribution)
                if not self._manager.get_hookcallers(module):
                    raise PluginError("implements no hook that can be seen (a module's own __dir__ must list them)")
        except Exception as error:
            if self._manager.has_plugin(plugin.distribution):
                self._manager.unregister(name=plugin.distribution)
            plugin.fail(stage, one_line(error))
        self._tables.clear()

    # --- looking up -------------------------------------------------------------------------------------------------

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.records if plugin.failed]

    def components(self, kind: str) -> Mapping[str, Sequence[Component]]:
        """Everything offered of this kind by name; more than one for a name is a clash."""
        if kind not in self._tables:
            table: dict[str, list[Component]] = {}
            for plugin, name, target in self._rows(KINDS[kind].hook):
                if problem := malformed(name, target):
                    plugin.fail("table", f"{KINDS[kind].hook} offers {name!r}: {problem}")
                else:
                    table.setdefault(name, []).append(Component(kind, name, target, plugin))
            self._tables[kind] = dict(sorted(table.items()))
        return self._tables[kind]

    def component(self, kind: str, name: str) -> Component:
        """The component of this name, which may be written `distribution:name` to choose between two.

        Raises:
            PluginError: None has this name, or more than one.
        """
        wanted, _, short = name.rpartition(":")
        table = self.components(kind)
        offers = [c for c in table.get(short, []) if not wanted or c.plugin.distribution == normalized(wanted)]
        if len(offers) == 1:
            return offers[0]
        if offers:
            owners = " and ".join(str(c.plugin) for c in offers)
            choice = " or ".join(f'name = "{c.plugin.distribution}:{short}"' for c in offers)
            raise PluginError(f"{short!r} is offered by {owners}; choose with {choice}")
        there = ", ".join(table) or "none; no installed plugin offers any"
        one = kind.removesuffix("s") if KINDS[kind].several else kind
        sentence = f"no {one} named {name!r}{nearest(short, table)}; there is: {there}"
        if self.broken:
            sentence += ". Not loaded: " + "; ".join(f"{p} ({p.failed}: {p.reason})" for p in self.broken)
        else:
            sentence += ". If another package offers it, install that package; `forestgaps plugins list` shows what is installed"
        raise PluginError(sentence)

    def component_of(self, kind: str, config: Any) -> Component:
        """The offered component whose config class this is."""
        place = f"{type(config).__module__}:{type(config).__qualname__}"
        for offers in self.components(kind).values():
            for component in offers:
                if component.target is type(config) or component.place == place:
                    return component
        raise PluginError(
            f"no installed plugin offers the {kind} {place}, so a run file cannot name it; offer it, or use `Trainer` directly"
        )

    def commands(self) -> Mapping[str, tuple[Plugin, Command]]:
        return self._records("forestgaps_commands", Command, COMMAND_NAME)

    def recipes(self) -> Mapping[str, tuple[Plugin, Recipe]]:
        return self._records("forestgaps_recipes", Recipe, NAME)

    def networks(self) -> Mapping[str, tuple[Plugin, Pretrained]]:
        return self._records("forestgaps_networks", Pretrained, NAME)

    def executors(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the scheme of the address they serve."""
        return self._records("forestgaps_executors", str, NAME)

    def executor(self, scheme: str) -> Callable[[str], Executor]:
        """What makes an executor from an address of this scheme, one of `executors()`.

        Raises:
            PluginError: It cannot be imported; the message names the package.
        """
        plugin, target = self.executors()[scheme]
        made: Callable[[str], Executor] = load_target(target, f"the executor for {scheme}:// of {plugin}")
        return made

    def engines(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the engine's name."""
        return self._records("forestgaps_engines", str, NAME)

    def engine(self, name: str) -> Engine:
        """The engine of this name.

        Raises:
            PluginError: There is none, or it cannot be imported; the message names the package.
        """
        table = self.engines()
        if name not in table:
            there = ", ".join(table) or "none; forestgaps-export brings some"
            raise PluginError(f"no engine named {name!r}{nearest(name, table)}; installed engines: {there}")
        plugin, target = table[name]
        made: Engine = load_target(target, f"the engine {name!r} of {plugin}")()
        return made

    def _records(self, hook: str, kind: type, spelling: re.Pattern[str]) -> dict[str, tuple[Plugin, Any]]:
        """The first of a name wins here, in the order of the distributions' names; the other plugin's record says so."""
        table: dict[str, tuple[Plugin, Any]] = {}
        for plugin, name, record in self._rows(hook):
            if not isinstance(record, kind) or not spelling.fullmatch(str(name)):
                plugin.fail("table", f"{hook} offers {name!r}: not a {kind.__name__} under a name in lower case")
            elif name in table:
                plugin.fail("table", f"{hook} offers {name!r}, which {table[name][0]} offers already")
            else:
                table[name] = (plugin, record)
        return dict(sorted(table.items()))

    def _rows(self, hook: str) -> Iterable[tuple[Plugin, str, Any]]:
        """What each plugin's implementation of a hook returns, row by row; one that raises is recorded."""
        by_name = {plugin.distribution: plugin for plugin in self.records}
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda implementation: str(implementation.plugin_name)):
            plugin = by_name.get(implementation.plugin_name)
            if plugin is None:
                continue
            try:
                with contained(f"the plugin {plugin}, {hook}"):
                    rows = list(implementation.function().items())
            except Exception as error:
                plugin.fail("table", f"{hook}: {one_line(error)}")
                continue
            for name, value in rows:
                yield plugin, name, value


def unmet_requirement(requires: Sequence[str]) -> str:
    """A sentence if the plugin asks for another core than this one, else ''."""
    mine = [text for text in requires if normalized(re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]) == CORE]
    if not mine:
        return ""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in mine:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            return f"its requirement {text!r} cannot be read: {error}"
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(__version__, prereleases=True):
            return f"needs {CORE} {requirement.specifier}, this is {__version__}; update one of the two"
    return ""


def misspelt_hooks(manager: pluggy.PluginManager, module: ModuleType) -> str:
    """A sentence about hooks that pluggy would never call, or ''."""
    known = [name for name in dir(PluginHooks) if name.startswith("forestgaps_")]
    for name in dir(module):
        marked = manager.parse_hookimpl_opts(module, name) is not None
        if marked and name not in known:
            return f"implements {name!r}, which is no hook{nearest(name, known)}; there is: {', '.join(known)}"
        if not marked and name in known and callable(getattr(module, name)):
            return f"has a function {name!r} without @hookimpl, so it would never be called"
    return ""


def malformed(name: object, target: object) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "a name is lower case letters, digits and underscores"
    if isinstance(target, type) or (isinstance(target, str) and TARGET.fullmatch(target)):
        return ""
    return f"the target {target!r} is not 'package.module:ConfigClass'"
