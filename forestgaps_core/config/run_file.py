"""Run files: TOML tables that choose components by name and contain their settings.

One table per kind; `name` chooses the component, the other keys are its fields. Kinds that may be several are keyed by a
label, `[metrics.gaps]`. All mistakes of a file are reported at once, each with its place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional

from forestgaps_core.config.converter import (
    WHOLE,
    format_key,
    format_value,
    limit_mistakes,
    structure_config,
    unstructure,
    validate_path,
)
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.errors import ConfigError, PluginError, nearest
from forestgaps_core.files.safe_opening import read_bytes
from forestgaps_core.kinds import USES_FURTHER_KINDS, list_required
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.names import format_error, full_name, list_usable_names
from forestgaps_core.plugins.registry import Component, Plugin, Plugins
from forestgaps_core.runtime.environment import Environment


@frozen(kw_only=True)
class Training:
    """Length of a run and what happens in a step."""

    epochs: int = field(default=10, validator=and_(ge(1), le(1_000_000)), metadata={"help": "Passes over the training split."})
    batch_size: int = field(default=8, validator=and_(ge(1), le(65_536)), metadata={"help": "Tiles the device sees at once."})
    accumulate: int = field(default=1, validator=and_(ge(1), le(65_536)), metadata={"help": "Batches to an optimizer step."})
    max_gradient_norm: float = field(
        default=1.0, validator=gt(0), metadata={"help": "Gradients are scaled down to this norm; inf leaves them."}
    )
    max_gradient_value: float = field(
        default=inf, validator=gt(0), metadata={"help": "Each gradient value is clipped to this size; inf leaves them."}
    )
    nonfinite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "At a step whose loss or gradient is not finite: stop the run, its weights as they were before, or skip the "
            "step. Either way its batch is kept in the folder `faults` of the run."
        },
    )
    check_every: int = field(
        default=50, validator=ge(1), metadata={"help": "Steps from one look for such steps to the next; each waits for the device."}
    )
    callback_errors: Literal["stop", "continue"] = field(
        default="stop",
        metadata={"help": "When a callback fails: stop the run, or continue without it. A full disk never stops training."},
    )
    start: str | None = field(
        default=None,
        validator=optional(validate_path),
        metadata={
            "help": "Trained weights to begin with: a run folder, checkpoint, model folder or the name of an installed network; "
            "left out: random weights. `train --from` sets it."
        },
    )


SETTINGS: Mapping[str, type] = {
    "thresholds": Thresholds,
    "training": Training,
    "environment": Environment,
}
REQUIRED = ("data", "model", "loss")
# Far more than any run file has, and little enough that none keeps a machine busy; measured in docs/promises/bad-input.md.
LARGEST = 1_000_000  # bytes of a file
DEEPEST = 32  # tables and lists in one another
MOST = 10_000  # values, tables and lists
# Names joined by more dots than that take the parser time that grows with the square of their number.
MANY_DOTS = re.compile(rf"""(?:\.[ \t]*+(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+){{{DEEPEST}}}""")
LONGEST_NAME = 200  # characters of a component's, with its distribution
# Labels stand in names of files and scores.
LABEL = re.compile(r"\w[\w-]{0,47}")

SECTIONS = (
    "data", "thresholds", "augmentations", "model", "normalization", "loss", "optimizer", "scheduler", "training", "metrics",
    "callbacks", "environment",
)  # fmt: skip
REPLACED = {
    "augmentation": "write a table [augmentations.LABEL] for each change, in the order in which they are applied: "
    'name = "canopy_stretch" (factor, was stretch), "canopy_mix" (swap; cutmix, was exchange; mixup, was blend), '
    '"flip_rotate" (was turns), "tilt" (slope, was tilt; offset_m), "hills" (relief_m). For none, write [augmentations] without '
    "entries"
}


@frozen(kw_only=True)
class Config:
    """A whole run. Components are their config objects, such as `Focal(gamma=1.5)`.

    Attributes:
        further: Components of the kinds that plugins declare, by kind; where there may be several, by label.
        names: Full names of the components by place, `{"loss": "forestgaps-losses:focal"}`, as far as they are known. They play no
            part in comparisons.
    """

    data: Any
    model: Any
    loss: Any
    normalization: Any = None
    optimizer: Any = None
    scheduler: Any = None
    metrics: Mapping[str, Any] = field(factory=dict)
    callbacks: Mapping[str, Any] = field(factory=dict)
    thresholds: Thresholds = field(factory=Thresholds)
    augmentations: Mapping[str, Any] = field(factory=dict)
    training: Training = field(factory=Training)
    environment: Environment = field(factory=Environment)
    further: Mapping[str, Any] = field(factory=dict)
    names: Mapping[str, str] = field(factory=dict, eq=False, repr=False)


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


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of at most `LARGEST` bytes, `DEEPEST` levels and `MOST` values.

    Raises:
        ConfigError: There is no such file, it is not TOML, or it is more than that.
    """
    try:
        content = read_bytes(path, LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"is no run file: it has more than {LARGEST:,} bytes", str(path))
        return parse_toml(content.decode("utf-8-sig"))
    except FileNotFoundError:
        near = nearest(path.name, (other.name for other in path.parent.glob("*.toml")) if path.parent.is_dir() else ())
        raise ConfigError(f"no such file{near}", str(path)) from None
    except IsADirectoryError:
        if (path / "run.toml").is_file():
            hint = f"is a run folder, not a run file. To resume it: {format_command('train', '--resume', path)}"
            again = format_command("train", path / "run.toml")
            raise ConfigError(f"{hint}; to train it again: {again}", str(path)) from None
        raise ConfigError("is a folder, not a run file; name a .toml file", str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not TOML: byte {error.start} is not UTF-8", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}"[:300], str(path)) from None
    except ValueError as error:
        raise ConfigError(f"is no run file: {error}", str(path)) from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text in TOML.

    Raises:
        ValueError: It is not TOML, or more than a run file may be.
    """
    if many := MANY_DOTS.search(text):
        raise ValueError(f"more than {DEEPEST} names joined by dots (at line {text.count(chr(10), 0, many.start()) + 1})")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(f"tables and lists in one another, more than {DEEPEST} deep") from None
    except ValueError:  # Python's own limit on digits
        raise ValueError(f"a whole number beyond {WHOLE}") from None
    check_extent(table)
    return table


def check_extent(table: Mapping[str, Any]) -> None:
    """Without recursion, whose depth is one of the things that are measured.

    Raises:
        ValueError: Too many values, too deep, or too large a whole number.
    """
    values: list[Any] = [table]
    count = depth = 0
    while values:
        count, depth = count + len(values), depth + 1
        if depth > DEEPEST + 1:
            raise ValueError(f"tables and lists in one another, more than {DEEPEST} deep")
        if count > MOST:
            raise ValueError(f"more than {MOST:,} values")
        if any(isinstance(value, int) and value.bit_length() > 63 for value in values):
            raise ValueError(f"a whole number beyond {WHOLE}")
        values = [
            inner
            for value in values
            if isinstance(value, Mapping | list)
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]


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


def list_sections(plugins: Plugins) -> tuple[str, ...]:
    """The tables that a run file may have: those of the core, then those of the kinds that plugins declare."""
    return (*SECTIONS, *(kind for kind in plugins.further_kinds if plugins.kinds[kind].table))


def get_section(config: Config, section: str) -> Any:
    """The settings or components of a table; None where the run has none."""
    return getattr(config, section) if section in SECTIONS else config.further.get(section)


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
    for attribute in attrs.fields(type(config)):
        value = getattr(config, attribute.name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[attribute.name] = folder / value
        elif attrs.has(type(value)):
            changes[attribute.name] = resolve_paths(value, folder)
    return attrs.evolve(config, **changes) if changes else config


def resolve_start(training: Training, folder: Path | None) -> Training:
    """The weights to begin with are a path, taken from `folder`, if there is such a thing, and a name otherwise."""
    if folder is None or training.start is None or not path_exists(folder / training.start):
        return training
    return attrs.evolve(training, start=str(folder.absolute() / training.start))


def path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name for this disk, or a folder that may not be looked into
        return False


# --- overrides ------------------------------------------------------------------------------------------------------


def apply_overrides(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The tables with changes such as `loss.gamma=1.5` made.

    A value is read as TOML; one that is not TOML is a text. Another `name` starts the component's table anew, since the
    settings of one component mean nothing to another.

    Raises:
        ConfigError: With every change that cannot be made.
    """
    changed: dict[str, Any] = copy_tables(table)
    problems = []
    parsed = [override.partition("=") for override in overrides]
    # Whole tables first, then names, whatever the order on the command line: they empty their tables.
    for key, equals, text in sorted(parsed, key=lambda part: ("." in part[0], not part[0].strip().endswith(".name"))):
        *path, last = key.strip().split(".")
        if (
            equals and not path and isinstance(value := parse_override(text.strip()), dict)
        ):  # a whole table, such as augmentations={}
            changed[last] = value
            continue
        if not equals or not path or not all((*path, last)) or len(path) > DEEPEST:
            problems.append(f"{format_value(key + equals + text)}: write table.key=value, such as loss.gamma=1.5")
            continue
        inner: Any = changed
        for part in path:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict):
            problems.append(f"{'.'.join(map(format_key, (*path, last)))}: {'.'.join(map(format_key, path))} is not a table")
            continue
        value = parse_override(text.strip())
        if last == "name" and not is_same_component(inner.get("name"), value):
            inner.clear()
        inner[last] = value
    if problems:
        raise ConfigError(problems, "--set")
    return changed


def is_same_component(one: Any, other: Any) -> bool:
    """Whether two names may be of one component: equal, or equal but for a distribution that only one of them has."""
    if not isinstance(one, str) or not isinstance(other, str) or (":" in one and ":" in other):
        return bool(one == other)
    return one.rpartition(":")[2] == other.rpartition(":")[2]


def copy_tables(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: copy_tables(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def parse_override(text: str) -> Any:
    try:
        table = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return table["value"] if len(table) == 1 else text


# --- writing --------------------------------------------------------------------------------------------------------


def make_table(config: Config, plugins: Plugins) -> dict[str, Any]:
    """The tables of the run file that says exactly this config, defaults included.

    Raises:
        PluginError: A component is offered by no plugin, so that no run file can name it.
    """
    table: dict[str, Any] = {}
    for section in list_sections(plugins):
        value = get_section(config, section)
        if section in SETTINGS:
            table[section] = unstructure(value)
        elif value is not None and plugins.kinds[section].several:
            table[section] = {
                label: make_component_table(section, chosen, plugins, config, label) for label, chosen in value.items()
            }
        elif value is not None:
            table[section] = make_component_table(section, value, plugins, config)
    if (start := config.training.start) is not None and not path_exists(Path(start)) and plugins.offers("network").get(start):
        table["training"]["start"] = full_name(plugins.offer("network", start))
    return table


def make_component_table(kind: str, chosen: Any, plugins: Plugins, config: Config, label: str = "") -> dict[str, Any]:
    component = plugins.component_of(kind, chosen, config.names.get(f"{kind}.{label}" if label else kind))
    try:
        settings = unstructure(chosen)
    except Exception as error:  # fields may be of any type
        raise PluginError(f"{component.words}: its settings cannot be written to a run file: {format_error(error)}") from error
    if wrong := explain_unwritable(settings):
        raise PluginError(f"{component.words}: its settings cannot be written to a run file: found {wrong}")
    return {"name": component.full_name, **settings}


def explain_unwritable(value: Any) -> str:
    """Words for the first value in a table that TOML does not have, or ''."""
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return next((wrong for part in inner if (wrong := explain_unwritable(part))), "")
    return "" if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def find_components(config: Config, plugins: Plugins) -> dict[str, Component]:
    """The component behind each place of a config, such as `metrics.gaps`."""
    found: dict[str, Component] = {}
    for kind, about in plugins.kinds.items():
        value = get_section(config, kind)
        places = {f"{kind}.{label}": chosen for label, chosen in (value or {}).items()} if about.several else {kind: value}
        for place, chosen in places.items():
            if chosen is not None:
                found[place] = plugins.component_of(kind, chosen, config.names.get(place))
    return found


def find_plugins(config: Config, plugins: Plugins) -> dict[str, Plugin]:
    """The plugins that a run needs, by distribution: those of its components, and of the network it starts from."""
    components = find_components(config, plugins).values()
    users = [*(component.plugin for component in components), *(plugins.further_kinds[kind] for kind in config.further)]
    used = {plugin.distribution: plugin for plugin in users}
    start = config.training.start
    if start is not None and not path_exists(Path(start)) and plugins.offers("network").get(start.rpartition(":")[2]):
        plugin = plugins.offer("network", start).plugin
        used[plugin.distribution] = plugin
    return used
