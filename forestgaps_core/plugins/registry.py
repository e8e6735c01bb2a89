"""Discover plugins through entry points, isolate broken ones, and find who offers a name.

A plugin is a distribution with one entry point in the group `forestgaps` that points at a thin module of hook
implementations. Loading goes in stages (metadata, requirement, import, hooks); a plugin that fails at one of them is rolled back
and kept as a record, so that everything that does not need it continues. Reading the tables costs no import of torch: targets are
strings, imported when a run file names them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from forestgaps_core.errors import PluginError
from forestgaps_core.files.bounded_reading import MAX_TEXT_BYTES, kind_of, read_bytes, read_text
from forestgaps_core.hookspecs import PROJECT, PluginHooks
from forestgaps_core.kinds import KINDS, Command, Pretrained, Recipe
from forestgaps_core.plugins.entry_points import EntryPoint, read_entry_points
from forestgaps_core.plugins.isolation import contain, report_long_calls
from forestgaps_core.plugins.local_files import compute_digest, import_file, list_given_files, list_sent_files
from forestgaps_core.plugins.names import Component as Component
from forestgaps_core.plugins.names import Offer, choose_offer, format_error, keep_torch_settings, list_usable_names
from forestgaps_core.plugins.names import Plugin as Plugin
from forestgaps_core.plugins.names import load_target as load_target
from forestgaps_core.plugins.names import normalize_name as normalize_name
from forestgaps_core.plugins.validation import CORE as CORE
from forestgaps_core.plugins.validation import (
    NAME,
    HookManager,
    explain_malformed_record,
    explain_malformed_row,
    find_misspelt_hooks,
)
from forestgaps_core.plugins.validation import explain_unmet_requirement as explain_unmet_requirement

if TYPE_CHECKING:
    from forestgaps_core.components import Engine, Executor

GROUP = "forestgaps"
COMMAND_NAME = re.compile(r"[a-z][a-z0-9-]*")
CORE_COMMANDS = frozenset({"train", "test", "share", "config", "plugins"})  # their names are not offered to plugins


@frozen
class Table:
    """A table of records, in the hook of the same name.

    Attributes:
        record: Type of its values.
        spelling: Of its names.
        how: How a full name is written where such names are used.
    """

    hook: str
    record: type
    spelling: re.Pattern[str]
    how: str


TABLES: Mapping[str, Table] = {
    "command": Table("forestgaps_commands", Command, COMMAND_NAME, "forestgaps {}"),
    "recipe": Table("forestgaps_recipes", Recipe, NAME, "--recipe {}"),
    "network": Table("forestgaps_networks", Pretrained, NAME, "{}"),
    "executor": Table("forestgaps_executors", str, NAME, "{}://"),
    "engine": Table("forestgaps_engines", str, NAME, "--engine {}"),
}


@define(eq=False)
class Plugins:
    """The plugins of this process.

    Make it with `Plugins.discover()`; a plain `Plugins()` knows none.
    """

    records: list[Plugin] = field(factory=list)
    _manager: HookManager = field(init=False)
    _tables: dict[str, dict[str, list[Component]]] = field(factory=dict, init=False)
    _offers: dict[str, dict[str, list[Offer]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._manager = HookManager(PROJECT)
        self._manager.add_hookspecs(PluginHooks)

    @classmethod
    def discover(cls, local: Iterable[Path] = ()) -> Plugins:
        """Load every installed plugin, these local files, and those that this process was given (`forestgaps -p FILE`).

        Raises:
            PluginError: A local file cannot be used. Installed plugins never raise.
            ConfigError: The time after which an import is reported is not a number.
        """
        plugins = cls()
        with report_long_calls():
            for point in sorted(read_entry_points(GROUP), key=lambda point: (point.distribution, point.name)):
                plugins.add_entry_point(point)
            for path in [*list_given_files(), *local]:
                plugins.add_file(path)
            for path, content in list_sent_files():
                plugins.add_content(path, content)
        return plugins

    # --- loading ----------------------------------------------------------------------------------------------------

    def add_entry_point(self, point: EntryPoint) -> None:
        plugin = Plugin(point.distribution, point.version)
        if plugin.distribution.startswith("~"):  # what pip leaves of a package that it could not remove
            return
        if any(record.distribution == plugin.distribution for record in self.records):
            plugin.fail(
                "hooks", f"has more than one entry point in the group {GROUP!r} ({point.name!r} is the second); one is allowed"
            )
        elif plugin.version == "?":
            plugin.fail(
                "metadata", "its METADATA is missing or incomplete, as after an interrupted uninstall; reinstall the package"
            )
        elif wrong := explain_unmet_requirement(point.requires):
            plugin.fail("requirement", wrong)
        else:
            self.register(point.load, plugin)
        self.records.append(plugin)

    def add_file(self, path: Path) -> None:
        """Load local code that is not packaged; it may offer classes instead of strings. A file given twice is loaded once.

        Raises:
            PluginError: It cannot be used, or another file of its name is loaded.
        """
        if not path.is_file():
            if (kind := kind_of(path)) == "nothing":
                raise PluginError(f"-p {path}: no such file")
            raise PluginError(f"-p {path}: is {kind}, not a Python file. Give the path of a file with components")
        try:
            content = read_bytes(path, MAX_TEXT_BYTES)
        except OSError as error:
            raise PluginError(f"-p {path}: cannot be read: {error.strerror}") from error
        self.add_content(path, content)

    def add_content(self, path: Path, content: bytes) -> None:
        """Load what a file of local code holds."""
        plugin = Plugin(path.name, f"sha256:{compute_digest(content)}", path=path)
        for record in self.records:
            if record.distribution == plugin.distribution:
                if record.version == plugin.version:
                    return
                raise PluginError(f"-p {path}: {record.path} has the same name and another content; rename one of the two")
        if path.suffix != ".py":
            raise PluginError(f"-p {path}: not a Python file")
        self.register(partial(import_file, path, content), plugin)
        if plugin.failed:
            raise PluginError(f"-p {path}: {plugin.reason}")
        self.records.append(plugin)

    def add_folder(self, folder: Path) -> Plugin:
        """Load a plugin from the folder of its project file, without installing it.

        Raises:
            PluginError: There is no project file with one entry point of the group.
        """
        import tomllib

        try:
            project = tomllib.loads(read_text(folder / "pyproject.toml"))["project"]
            points = project["entry-points"][GROUP]
        except (OSError, KeyError, ValueError) as error:
            raise PluginError(f"{folder}: no pyproject.toml with [project.entry-points.{GROUP}] ({format_error(error)})") from error
        plugin = Plugin(normalize_name(project["name"]), str(project.get("version", "?")), path=folder)
        self.records = [record for record in self.records if record.distribution != plugin.distribution]
        if self._manager.has_plugin(plugin.distribution):  # the folder's own, rather than what is installed of it
            self._manager.unregister(name=plugin.distribution)
        sys.path[:0] = [str(folder / "src"), str(folder)]
        if wrong := explain_unmet_requirement(project.get("dependencies", [])):
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
            with contain(f"the plugin {plugin}"), keep_torch_settings(f"the plugin {plugin}"):
                module = load()
                stage = "hooks"
                if wrong := find_misspelt_hooks(self._manager, module):
                    raise PluginError(wrong)
                self._manager.register(module, name=plugin.distribution)
                if not self._manager.get_hookcallers(module):
                    raise PluginError("implements no hook that can be seen (a module's own __dir__ must list them)")
                plugin.module = getattr(module, "__name__", type(module).__module__)
        except Exception as error:
            if self._manager.has_plugin(plugin.distribution):
                self._manager.unregister(name=plugin.distribution)
            plugin.fail(stage, format_error(error))
        self._tables.clear()
        self._offers.clear()

    # --- components -------------------------------------------------------------------------------------------------

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.records if plugin.failed]

    def components(self, kind: str) -> Mapping[str, Sequence[Component]]:
        """Everything offered of this kind by name; more than one for a name is a clash."""
        if kind not in self._tables:
            table: dict[str, list[Component]] = {}
            for plugin, name, target in self._rows(KINDS[kind].hook):
                if problem := explain_malformed_row(name, target):
                    plugin.fail("table", f"{KINDS[kind].hook} offers {problem}")
                else:
                    table.setdefault(name, []).append(Component(kind, name, target, plugin))
            self._tables[kind] = dict(sorted(table.items()))
        return self._tables[kind]

    def component(self, kind: str, name: str, *, advised: bool = True) -> Component:
        """The component of this name, which may be written `distribution:name` to choose between two.

        Args:
            advised: Whether an error about an unknown name says what may help.

        Raises:
            PluginError: None has this name, or more than one.
        """
        one = kind.removesuffix("s") if KINDS[kind].several else kind
        if missing := self.missing_package(kind, name):
            raise PluginError(f"no {one} named {name!r}: it {missing}")
        try:
            return choose_offer(self.components(kind), name, one, how='name = "{}"'.format, plugins=self.records)
        except PluginError as error:
            if not advised or ":" in name or name in self.components(kind):
                raise
            raise PluginError(f"{error}. {self.advice()}") from None

    def advice(self) -> str:
        """What may help where a name is offered by no plugin."""
        if self.broken:
            return "Not loaded: " + "; ".join(f"{p} ({p.failed}: {p.reason})" for p in self.broken)
        return "If another package offers it, install that package; `forestgaps plugins list` shows what is installed"

    def component_of(self, kind: str, config: Any, chosen: str | None = None) -> Component:
        """The offered component whose config class this is.

        Args:
            chosen: Its full name, where it is known; several names may be of one class.
        """
        place = f"{type(config).__module__}:{type(config).__qualname__}"
        found = [
            component
            for offers in self.components(kind).values()
            for component in offers
            if component.target is type(config) or component.place == place
        ]
        if not found:
            raise PluginError(
                f"no installed plugin offers the {kind} {place}, so a run file cannot name it; offer it, or use `Trainer` directly"
            )
        package = place.partition(":")[0].partition(".")[0]
        # First the one that was chosen; else of several that offer one class the package that it is in.
        return min(
            found, key=lambda component: (component.full_name != chosen, component.plugin.module.partition(".")[0] != package)
        )

    # --- other tables -----------------------------------------------------------------------------------------------

    def offers(self, table: str) -> Mapping[str, Sequence[Offer]]:
        """Everything in one of the `TABLES` by name; more than one for a name is a clash."""
        if table not in self._offers:
            about, found = TABLES[table], dict[str, list[Offer]]()
            for plugin, name, record in self._rows(about.hook):
                if problem := explain_malformed_record(name, record, about.record, about.spelling):
                    plugin.fail("table", f"{about.hook} offers {problem}")
                else:
                    found.setdefault(name, []).append(Offer(name, record, plugin))
            self._offers[table] = dict(sorted(found.items()))
        return self._offers[table]

    def offer(self, table: str, name: str, *, what: str = "", plural: str = "") -> Offer:
        """The row of one of the `TABLES` with this name, which may be written `distribution:name`.

        Raises:
            PluginError: None has this name, or more than one.
        """
        if missing := self.missing_package(table, name):
            raise PluginError(f"no {what or table} named {name!r}: it {missing}")
        how = TABLES[table].how.format
        return choose_offer(self.offers(table), name, what or table, how=how, plugins=self.records, plural=plural)

    def missing_package(self, table: str, name: str) -> str:
        """Return which of the project's packages offers a name that no plugin offers, and how to install it; else ''."""
        if ":" in name or name in (self.components(table) if table in KINDS else self.offers(table)):
            return ""
        from forestgaps_core.plugins.first_party import explain_missing_package

        return explain_missing_package(table, name, self.records)

    def usable(self, table: str) -> dict[str, tuple[Plugin, Any]]:
        """Plugin and record by the names that can be used: short ones, and full ones where several plugins offer a name."""
        return {name: (offer.plugin, offer.record) for name, offer in list_usable_names(self.offers(table)).items()}

    def commands(self) -> Mapping[str, tuple[Plugin, Command]]:
        """Commands by the names that call them; those with the name of the core's own have their full name only."""
        rows: dict[str, tuple[Plugin, Command]] = self.usable("command")
        return {(f"{plugin.distribution}:{name}" if name in CORE_COMMANDS else name): (plugin, command)
                for name, (plugin, command) in rows.items()}  # fmt: skip

    def recipes(self) -> Mapping[str, tuple[Plugin, Recipe]]:
        return self.usable("recipe")

    def networks(self) -> Mapping[str, tuple[Plugin, Pretrained]]:
        return self.usable("network")

    def executors(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the scheme of the address they serve."""
        return self.usable("executor")

    def executor(self, scheme: str) -> Callable[[str], Executor]:
        """What makes an executor from an address of this scheme.

        Raises:
            PluginError: None serves it, or several do; or it cannot be imported; the message names the package.
        """
        offer = self.offer("executor", scheme, what="executor")
        made: Callable[[str], Executor] = load_target(offer.record, f"the executor for {offer.name}:// of {offer.plugin}")
        return made

    def engines(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the engine's name."""
        return self.usable("engine")

    def engine(self, name: str) -> Engine:
        """The engine of this name.

        Raises:
            PluginError: There is none, or several; or it cannot be imported; the message names the package.
        """
        offer = self.offer("engine", name, plural="installed engines")
        made: Engine = load_target(offer.record, f"the engine {offer.name!r} of {offer.plugin}")()
        return made

    def clashes(self) -> list[str]:
        """One sentence for each name that several plugins offer, or that the core has itself."""
        sentences = []
        tables: list[tuple[str, Mapping[str, Sequence[Any]], str]] = [
            *((kind, self.components(kind), 'name = "{}"') for kind in KINDS),
            *((table, self.offers(table), about.how) for table, about in TABLES.items()),
        ]
        for table, rows, how in tables:
            place = f"{table}." if table in KINDS else f"{table} "
            for name, offers in rows.items():
                full = how.format(f"{offers[0].plugin.distribution}:{name}")
                owners = " and ".join(str(offer.plugin) for offer in offers)
                if table == "command" and name in CORE_COMMANDS:
                    sentences.append(f"{place}{name} is the core's own and is offered by {owners}; call the other with {full}")
                elif len(offers) > 1:
                    sentences.append(f"{place}{name} is offered by {owners}; choose with {full}")
        return sentences

    def _rows(self, hook: str) -> Iterable[tuple[Plugin, str, Any]]:
        """What each plugin's implementation of a hook returns, row by row; one that raises is recorded."""
        by_name = {plugin.distribution: plugin for plugin in self.records}
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda implementation: str(implementation.plugin_name)):
            plugin = by_name.get(implementation.plugin_name)
            if plugin is None:
                continue
            try:
                with contain(f"the plugin {plugin}, {hook}"):
                    # A name of a class of its own would run code of the plugin wherever it is compared.
                    rows = [
                        (str.__str__(name) if isinstance(name, str) else name, value)
                        for name, value in implementation.function().items()
                    ]
            except Exception as error:
                plugin.fail("table", f"{hook}: {format_error(error)}")
                continue
            for name, value in rows:
                yield plugin, name, value
