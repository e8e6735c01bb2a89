"""Loading plugins: discovery through entry points, local files and folders, and isolation of those that are broken.

A plugin is a distribution with one entry point in the group `forestgaps` that points at a thin module of hook
implementations. Loading goes in stages (metadata, requirement, import, hooks); a plugin that fails at one of them is rolled back
and kept as a record, so that everything that does not need it continues.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from attrs import define, field

from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.files.safe_opening import MAX_TEXT_BYTES, describe_kind, read_bytes, read_text
from forestgaps_core.hookspecs import PROJECT, PluginHooks
from forestgaps_core.kinds import BuildContext
from forestgaps_core.plugins import core_hooks
from forestgaps_core.plugins.builds import BUILD_HOOK, trace_builds
from forestgaps_core.plugins.choice import list_disabled
from forestgaps_core.plugins.entry_points import EntryPoint, read_entry_points
from forestgaps_core.plugins.hook_checks import (
    CORE,
    HookManager,
    explain_unmet_requirement,
    find_misspelt_hooks,
    turn_tables_into_hooks,
)
from forestgaps_core.plugins.isolation import contain, report_long_calls
from forestgaps_core.plugins.local_files import compute_digest, import_file, list_given_files, list_sent_files
from forestgaps_core.plugins.names import Plugin, format_error, keep_torch_settings, normalize_name
from forestgaps_core.plugins.session import SessionComponent, list_registered
from forestgaps_core.version import __version__

GROUP = "forestgaps"


@define(eq=False)
class PluginLoader:
    """Plugins that were loaded, and the record of each that could not be.

    Attributes:
        records: All plugins, working or not, in the order in which they were loaded.
        disabled: Normalized names of the distributions and local files that the user disabled, each with what disabled it.
        loads: How often the plugins changed; what is computed from their hooks is valid for one value of it.
    """

    records: list[Plugin] = field(factory=list)
    disabled: Mapping[str, str] = field(factory=dict)
    loads: int = field(default=0, init=False)
    _manager: HookManager = field(init=False)
    _core: Plugin = field(init=False)  # the core's own hooks; not among the records
    _builds: list[BuildContext] = field(factory=list, init=False)  # that are being made, the innermost last

    def __attrs_post_init__(self) -> None:
        self._manager = HookManager(PROJECT)
        self._manager.add_hookspecs(PluginHooks)
        self._core = Plugin(CORE, __version__, module=core_hooks.__name__)
        self._manager.register(core_hooks, name=CORE)

    @classmethod
    def discover(cls, local: Iterable[Path] = ()) -> Self:
        """Load every installed plugin, these local files, and those that this process was given (`forestgaps -p FILE`).

        Raises:
            PluginError: A local file cannot be used. Installed plugins never raise.
            ConfigError: The settings file of the user has mistakes, or the time after which an import is reported is not a number.
        """
        plugins = cls(disabled=list_disabled())
        with report_long_calls():
            for point in sorted(read_entry_points(GROUP), key=lambda point: (point.distribution, point.name)):
                plugins.add_entry_point(point)
            for path in [*list_given_files(), *local]:
                plugins.add_file(path)
            for path, content in list_sent_files():
                plugins.add_content(path, content)
        for component in list_registered():
            plugins.add_session_component(component)
        return plugins

    def add_installed(self, *distributions: str) -> None:
        """Load these installed plugins, and no others.

        Raises:
            PluginError: One is not installed, or is not a plugin.
        """
        points = {point.distribution: point for point in read_entry_points(GROUP)}
        for name in distributions:
            if normalize_name(name) not in points:
                raise PluginError(f"no installed plugin {name!r}{nearest(name, points)}; there is: {', '.join(points) or 'none'}")
            self.add_entry_point(points[normalize_name(name)])

    def add_entry_point(self, point: EntryPoint) -> None:
        plugin = Plugin(point.distribution, point.version)
        if plugin.distribution.startswith("~"):  # what pip leaves of a package that it could not remove
            return
        if any(record.distribution == plugin.distribution for record in self.records):
            plugin.fail(
                "hooks", f"has more than one entry point in the group {GROUP!r} ({point.name!r} is the second); one is allowed"
            )
        elif by := self.disabled.get(normalize_name(plugin.distribution)):
            plugin.fail("disabled", f"by {by}")
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
            if (kind := describe_kind(path)) == "nothing":
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
        if by := self.disabled.get(normalize_name(plugin.distribution)):
            plugin.fail("disabled", f"by {by}")
            self.records.append(plugin)
            return
        self.register(partial(import_file, path, content), plugin)
        if plugin.failed:
            raise PluginError(f"-p {path}: {plugin.reason}")
        self.records.append(plugin)

    def add_session_component(self, component: SessionComponent) -> None:
        """Load what was registered in this session."""
        plugin = Plugin(component.distribution, component.version, source=component.source)
        self.register(component.make_module, plugin)
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
        stage, wrong = "import", ""
        try:
            with contain(f"the plugin {plugin}"), keep_torch_settings(f"the plugin {plugin}"):
                module = load()
                stage = "hooks"
                module = turn_tables_into_hooks(module)
                if wrong := find_misspelt_hooks(self._manager, module):
                    raise PluginError(wrong)
                self._manager.register(module, name=plugin.distribution)
                if not self._manager.get_hookcallers(module):
                    raise PluginError("implements no hook that can be seen (a module's own __dir__ must list them)")
                trace_builds(self._manager, module, plugin, self._builds)
                plugin.module = getattr(module, "__name__", type(module).__module__)
        except Exception as error:
            if self._manager.has_plugin(plugin.distribution):
                self._manager.unregister(name=plugin.distribution)
            plugin.fail(stage, wrong or format_error(error))  # all misspelt hooks are named, however many
        self.loads += 1

    def list_unknown_disabled(self) -> list[str]:
        """Return a sentence about each disabled name that no plugin has."""
        known = {normalize_name(plugin.distribution): plugin.distribution for plugin in self.records}
        return [f"{by} disables {name!r}, which is not installed{nearest(name, known)}"
                for name, by in self.disabled.items() if name not in known]  # fmt: skip

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.records if plugin.failed]

    def list_altering(self) -> list[Plugin]:
        """Return the plugins that implement the build hook."""
        names = {implementation.plugin_name for implementation in getattr(self._manager.hook, BUILD_HOOK).get_hookimpls()}
        return [plugin for plugin in self.records if plugin.distribution in names]

    def rows(self, hook: str) -> Iterable[tuple[Plugin, str, Any]]:
        """What each plugin's implementation of a hook returns, row by row; one that raises is recorded."""
        by_name = {plugin.distribution: plugin for plugin in (self._core, *self.records)}
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
