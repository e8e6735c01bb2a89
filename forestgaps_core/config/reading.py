"""Read the tables of a run file as a `Config`. All mistakes are reported at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from forestgaps_core.config.converter import structure_config
from forestgaps_core.config.inheritance import Place, Sources, read_run_file
from forestgaps_core.config.mistakes import MistakesError, format_key, format_place, format_value, limit_mistakes
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.run_file import REQUIRED, SECTIONS, SETTINGS, Config, Training, list_sections, path_exists
from forestgaps_core.errors import ConfigError, PluginError, nearest
from forestgaps_core.kinds import USES_FURTHER_KINDS, list_required
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.names import list_usable_names, normalize_name
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.plugins.renamed_settings import list_old_names
from forestgaps_core.settings import Component, has_settings, list_hints, list_inner_components

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
    inherited, sources = read_run_file(path)
    table = apply_overrides(inherited, overrides)
    return read_config(
        table, plugins or Plugins.discover(), source=str(path), folder=path.parent, sources=drop_changed(sources, inherited, table)
    )


def drop_changed(sources: Sources, before: Mapping[str, Any], after: Mapping[str, Any]) -> Sources:
    """The files of the values that overrides leave as they are."""
    return {place: file for place, file in sources.items() if find_value(before, place) == find_value(after, place)}


def find_value(table: Any, place: Place) -> Any:
    for key in place:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def read_config(
    table: Mapping[str, Any],
    plugins: Plugins,
    *,
    source: str = "run file",
    folder: Path | None = None,
    required: Sequence[str] = REQUIRED,
    sources: Sources = MappingProxyType({}),
) -> Config:
    """The config of the tables of a run file; relative paths in it start at `folder`.

    Args:
        sources: Files of the values; their relative paths start at the folder of the file.
        required: Tables that must be there. Others of `REQUIRED` that are missing are None.
    """
    reader = _Reader(plugins, folder, sources)
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
    if reader.unknown:  # once, however many names there are
        last = max(place for place, problem in enumerate(reader.problems) if problem.endswith(reader.unknown))
        reader.problems[last] += f". {plugins.advice()}"
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
            inside = (
                [] if config is None else [(place, config), *((at, part) for at, _, part in list_inner_components(config, place))]
            )
            for at, part in inside:
                if kind in list_required(part):
                    return at
    return ""


def read_component(kind: str, table: Mapping[str, Any], plugins: Plugins) -> tuple[Any, dict[str, str], list[str]]:
    """The config of one component and those inside it, their full names by place, and what is wrong."""
    reader = _Reader(plugins, None)
    config = reader.read_component(kind, table, (kind,))
    return config, reader.names, reader.problems


class _Reader:
    """Reads the tables of one file and gathers what is wrong in them."""

    def __init__(self, plugins: Plugins, folder: Path | None, sources: Sources = MappingProxyType({})) -> None:
        self.plugins, self.folder, self.sources = plugins, folder, sources
        self.problems: list[str] = []
        self.names: dict[str, str] = {}
        self.unknown = ""  # the last sentence about a name that no plugin offers

    def read_section(self, section: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            self.problems.append(f"{section}: found {format_value(value)}, expected a table [{section}]")
            return None
        if section in SETTINGS:
            settings = self.read_settings(value, SETTINGS[section], (section,))
            folder = self.find_folder(("training", "start"))
            return resolve_start(settings, folder) if isinstance(settings, Training) else settings
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
        return self.read_settings(value, Component[kind], place)

    def find_class(self, kind: str, table: Mapping[str, Any], place: tuple[str, ...]) -> type:
        """The config class of the component that a table names.

        Raises:
            MistakesError: The name is missing, unknown, or of a component of another kind.
        """
        name = table.get("name")
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            found = "is missing" if name is None else f"found {format_value(name)}"
            known = list_usable_names(self.plugins.components(kind))
            sentence = f"{found}, expected one of: {', '.join(known) or 'none is installed'}"
            raise MistakesError([(("name",), sentence)])
        try:
            component = self.plugins.component(kind, name, advised=False)
            self.names[format_place(place)] = component.full_name
            return component.load()
        except PluginError as error:
            sentence = str(error)
            if name.rpartition(":")[2] not in self.plugins.components(kind):
                other = find_kind(name, self.plugins)
                sentence = f"{name!r} is a component of the kind {other}, expected the kind {kind}: {error}" if other else sentence
                if not other and ":" not in name and not self.plugins.missing_package(kind, name):
                    self.unknown = sentence
            raise MistakesError([(("name",), sentence)]) from error

    def read_settings(self, value: Any, config_class: Any, place: tuple[str, ...]) -> Any:
        config, problems = structure_config(value, config_class, place, self.find_class)
        self.problems += problems
        return config if problems or self.folder is None else self.resolve_paths(config, place)

    def find_folder(self, place: Place) -> Path | None:
        """The folder of the file that has the value of a place; of the run file where none has."""
        file = self.sources.get(place)
        return self.folder if file is None else file.parent

    def resolve_paths(self, value: Any, place: Place) -> Any:
        """The value with its relative paths made absolute, so that the resolved run file means the same anywhere."""
        if isinstance(value, Path):
            return value if value.is_absolute() or (folder := self.find_folder(place)) is None else folder.absolute() / value
        if isinstance(value, Mapping):
            return {key: self.resolve_paths(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self.resolve_paths(item, place) for item in value])
        if not has_settings(type(value)):
            return value
        before = {name: getattr(value, name) for name in list_hints(type(value))}
        old = {new: name for name, new, _ in list_old_names(view_settings(type(value))) if (*place, name) in self.sources}
        after = {name: self.resolve_paths(item, (*place, old.get(name, name))) for name, item in before.items()}
        changed = any(after[name] != before[name] for name in before)
        return type(value)(**after) if changed else value


def find_kind(name: str, plugins: Plugins) -> str:
    """Return the kind of the components that have a name; '' if there is none."""
    owner, _, short = name.rpartition(":")
    for kind in plugins.kinds:
        offers = plugins.components(kind).get(short, ())
        if any(not owner or normalize_name(offer.plugin.distribution) == normalize_name(owner) for offer in offers):
            return kind
    return ""


def resolve_start(training: Training, folder: Path | None) -> Training:
    """The weights to begin with are a path, taken from `folder`, if there is such a thing, and a name otherwise."""
    if folder is None or training.start is None or not path_exists(folder / training.start):
        return training
    return attrs.evolve(training, start=str(folder.absolute() / training.start))
