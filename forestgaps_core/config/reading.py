"""Read the tables of a run file as a `Config`. All mistakes are reported at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs

from forestgaps_core.config.converter import format_key, format_value, has_settings, limit_mistakes, structure_config
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.run_file import REQUIRED, SECTIONS, SETTINGS, Config, Training, list_sections, path_exists
from forestgaps_core.config.toml_files import read_table
from forestgaps_core.errors import ConfigError, PluginError, nearest
from forestgaps_core.kinds import USES_FURTHER_KINDS, list_required
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.names import format_error, list_usable_names
from forestgaps_core.plugins.registry import Plugins

LONGEST_NAME = 200  # characters of a component's, with its distribution
# Labels stand in names of files and scores.
LABEL = re.compile(r"\w[\w-]{0,47}")
REPLACED = {
    "augmentation": "write a table [augmentations.LABEL] for each change, in the order in which they are applied: "
    'name = "canopy_stretch" (factor, was stretch), "canopy_mix" (swap; cutmix, was exchange; mixup, was blend), '
    '"flip_rotate" (was turns), "tilt" (slope, was tilt; offset_m), "hills" (relief_m). For none, write [augmentations] without '
    "entries"
}


def load_config(path: Path | str, *, overrides: Iterable[str] = (), plugins: Plugins | None = None) -> Config:
    """Read a run file.

    Args:
        overrides: Changes such as `loss.gamma=1.5`, as for `--set`.
        plugins: What names may be used; by default, all that is installed.

    Raises:
        ConfigError: With every mistake found.
    """
    path = Path(path)
    table = apply_overrides(read_table(path), overrides)
    return read_config(table, plugins or Plugins.discover(), source=str(path), folder=path.parent)


def read_config(
    table: Mapping[str, Any],
    plugins: Plugins,
    *,
    source: str = "run file",
    folder: Path | None = None,
    required: Sequence[str] = REQUIRED,
) -> Config:
    """The config of the tables of a run file; relative paths in it start at `folder`.

    Args:
        required: Tables that must be there. Others of `REQUIRED` that are missing are None.
    """
    reader = _Reader(plugins, folder)
    fields: dict[str, Any] = {}
    sections = list_sections(plugins)
    for key in table:
        if key not in sections:
            refused = plugins.explain_refused_kind(key)
            known = refused or REPLACED.get(key, f"there is: {', '.join(sections)}")
            reader.problems.append(f"{format_key(key)}: unknown table{'' if refused else nearest(key, sections)}; {known}")
    for section in sections:
        if section in table:
            fields[section] = reader.read_section(section, table[section])
        elif section in required:
            known = ", ".join(list_usable_names(plugins.components(section))) or "none is installed"
            reader.problems.append(f'{section}: the table is missing; add [{section}] with name = "...", one of: {known}')
        elif set(required) >= set(REQUIRED) and section not in SETTINGS:
            user = "" if section in SECTIONS else find_user(section, fields)
            if (default := plugins.kinds[section].default) is not None and (user or section in SECTIONS):
                fields[section] = reader.read_default(section, default)
            elif user:
                reader.problems.append(f"{section}: the table is missing; {user} asks for it")
    if reader.unknown is not None:  # once, however many names there are
        reader.problems[reader.unknown] += f". {plugins.advice()}"
    if reader.problems:
        raise ConfigError(limit_mistakes(reader.problems), source)
    further = {section: fields.pop(section) for section in plugins.further_kinds if section in fields}
    return Config(**{**dict.fromkeys(REQUIRED), **fields}, further=further, names=reader.names)


def find_user(kind: str, fields: Mapping[str, Any]) -> str:
    """The place of a component whose `build` requires a component of a plugin's kind, or ''."""
    for user in USES_FURTHER_KINDS:
        found = fields.get(user)
        rows = {f"{user}.{label}": row for label, row in found.items()} if isinstance(found, Mapping) else {user: found}
        for place, config in rows.items():
            if config is not None and kind in list_required(config):
                return place
    return ""


class _Reader:
    """Reads the tables of one file and gathers what is wrong in them."""

    def __init__(self, plugins: Plugins, folder: Path | None) -> None:
        self.plugins, self.folder = plugins, folder
        self.problems: list[str] = []
        self.names: dict[str, str] = {}
        self.unknown: int | None = None  # the last problem about a name that no plugin offers

    def read_section(self, section: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            self.problems.append(f"{section}: found {format_value(value)}, expected a table [{section}]")
            return None
        if section in SETTINGS:
            settings = self.read_settings(value, SETTINGS[section], (section,))
            return resolve_start(settings, self.folder) if isinstance(settings, Training) else settings
        if self.plugins.kinds[section].several:
            return {label: self.read_labelled(section, label, chosen) for label, chosen in value.items()}
        return self.read_component(section, value, (section,))

    def read_default(self, section: str, table: Mapping[str, Any]) -> Any:
        """What the file has where it has no such table."""
        known = len(self.problems)
        value = self.read_section(section, table)
        for place, problem in enumerate(self.problems[known:], known):
            reason = problem.partition(": ")[2]
            self.problems[place] = f"{section}: the table is missing, and its default cannot be used: {reason}"
        return value

    def read_labelled(self, kind: str, label: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            self.problems.append(
                f"{kind}.{format_key(label)}: found {format_value(value)}, expected a table; "
                f'{kind} are labeled: [{kind}.LABEL] with name = "..."'
            )
            return None
        if not LABEL.fullmatch(label):
            self.problems.append(
                f"{kind}.{format_key(label)}: a label has letters, digits, _ and -, at most 48: it names files and scores"
            )
            return None
        return self.read_component(kind, value, (kind, label))

    def read_component(self, kind: str, value: Mapping[str, Any], place: tuple[str, ...]) -> Any:
        name = value.get("name")
        where = ".".join(place)
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            found = "is missing" if name is None else f"found {format_value(name)}"
            known = list_usable_names(self.plugins.components(kind))
            self.problems.append(f"{where}.name: {found}, expected one of: {', '.join(known) or 'none is installed'}")
            return None
        try:
            config_class = self.find_config_class(kind, name, where)
        except PluginError as error:
            self.problems.append(f"{where}.name: {error}")
            unknown = ":" not in name and name not in self.plugins.components(kind)
            if unknown and not self.plugins.missing_package(kind, name):
                self.unknown = len(self.problems) - 1
            return None
        settings = {key: item for key, item in value.items() if key != "name"}
        try:
            return self.read_settings(settings, config_class, place)
        except Exception as error:  # a config class may raise anything, and have fields of any type
            self.problems.append(f"{where}: the settings of {self.names.get(where, name)} cannot be read: {format_error(error)}")
            return None

    def find_config_class(self, kind: str, name: str, where: str) -> type:
        component = self.plugins.component(kind, name, advised=False)
        self.names[where] = component.full_name
        return component.load()

    def read_settings(self, value: Mapping[str, Any], config_class: type, place: tuple[str, ...]) -> Any:
        config, problems = structure_config(value, config_class, place)
        self.problems += problems
        return config if problems or self.folder is None else resolve_paths(config, self.folder.absolute())


def resolve_paths(config: Any, folder: Path) -> Any:
    """The config with its relative paths taken from `folder`, so that the resolved run file means the same anywhere."""
    changes = {}
    for attribute in attrs.fields(view_settings(type(config))):
        value = getattr(config, attribute.name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[attribute.name] = folder / value
        elif has_settings(type(value)):
            changes[attribute.name] = resolve_paths(value, folder)
    replaced: Any = attrs.evolve(config, **changes) if attrs.has(type(config)) else replace(config, **changes)
    return replaced if changes else config


def resolve_start(training: Training, folder: Path | None) -> Training:
    """The weights to begin with are a path, taken from `folder`, if there is such a thing, and a name otherwise."""
    if folder is None or training.start is None or not path_exists(folder / training.start):
        return training
    return attrs.evolve(training, start=str(folder.absolute() / training.start))
