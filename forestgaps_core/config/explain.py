"""Describe what a table of a run file may contain, from the code: fields, defaults, limits, help, docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import attrs

from forestgaps_core.config.mistakes import format_value
from forestgaps_core.config.run_file import SETTINGS, list_sections
from forestgaps_core.errors import ConfigError, PluginError, nearest
from forestgaps_core.kinds import KINDS, build
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.names import format_error, list_usable_names
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.settings import (
    find_component_kind,
    has_settings,
    is_mapping,
    is_sequence,
    list_hints,
    list_marks,
    list_parts_of_type,
    unstructure_value,
)

ALIASES = {
    "metric": "metrics",
    "callback": "callbacks",
    "losses": "loss",
    "models": "model",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
}


def explain_topic(topic: str, plugins: Plugins) -> str:
    """The text for `config explain TOPIC`.

    Args:
        topic: '' for the sections, `loss` for the components of a kind, `loss.focal` for one, `training` for settings.

    Raises:
        ConfigError: No such topic.
    """
    section, _, name = topic.partition(".")
    section = ALIASES.get(section, section)
    if not section:
        return "\n".join(describe_sections(plugins))
    if section in SETTINGS:
        return "\n".join(describe_settings(SETTINGS[section], f"[{section}]"))
    if section not in plugins.kinds:
        tables = [*list_sections(plugins), *(kind for kind in plugins.kinds if not plugins.kinds[kind].table)]
        raise ConfigError(f"no table {section!r}{nearest(section, tables)}; there is: {', '.join(tables)}", "explain")
    if not name:
        return "\n".join([*describe_kind(section, plugins), *list_components(section, plugins)])
    kind = plugins.kinds[section]
    table = f"[{section}.LABEL]" if kind.several else f"[{section}]" if kind.table else section
    header = kind.how.format(name) if kind.is_option else f'{table} name = "{name}"'
    component = plugins.component(section, name)
    try:
        return "\n".join([*describe_settings(component.load(), header), "", f"offered by {component.plugin}"])
    except PluginError:
        raise
    except Exception as error:  # defaults and annotations are code of the plugin
        raise PluginError(f"{component.words} cannot be explained: {format_error(error)}") from error


def describe_sections(plugins: Plugins) -> Iterator[str]:
    yield "A run file has these tables (forestgaps config explain TABLE):"
    for section in list_sections(plugins):
        if section in SETTINGS:
            yield f"  [{section}]  {first_line(SETTINGS[section])}"
        else:
            owner = f" (declared by {plugins.further_kinds[section]})" if section in plugins.further_kinds else ""
            several = plugins.kinds[section].several
            yield (f"  [{section}.LABEL]  chosen by name, several" if several else f"  [{section}]  chosen by name") + owner


def describe_kind(section: str, plugins: Plugins) -> Iterator[str]:
    """Lines about a kind that a plugin declares or a command uses: what it is, and what `build` may ask for."""
    kind = plugins.kinds[section]
    if kind.is_option:
        yield f"{section}: {kind.makes}; chosen by {kind.how.format('NAME')}, with --set NAME.KEY=VALUE for its settings"
        return
    if kind.default is not None:
        tables = kind.default.values() if kind.several else (kind.default,)
        whose = "a component that asks for it" if section in plugins.further_kinds else "a run"
        yield f"default: without this table, {whose} has {' and '.join(table['name'] for table in tables)}"
    if section not in plugins.further_kinds:
        return
    place = "" if kind.table else "; a part of other components, without a table of its own"
    yield f"{section}: {kind.makes} (declared by {plugins.further_kinds[section]}){place}"
    for name, meaning in kind.arguments.items():
        yield f"  build may ask for {name}: {meaning}"


def list_components(section: str, plugins: Plugins) -> Iterator[str]:
    for name, component in list_usable_names(plugins.components(section)).items():
        try:
            line = first_line(component.load())
        except PluginError as error:  # one that is broken is no reason not to list the others
            line = f"BROKEN: {error}"
        yield f"{section}.{name}  {line}  ({component.plugin})"
    if not plugins.components(section):
        yield f"no installed plugin offers any {section}"


def describe_settings(config_class: type, header: str) -> Iterator[str]:
    yield header
    yield ""
    yield inspect.getdoc(config_class) or ""
    yield ""
    yield from field_lines(config_class, "")


def field_lines(config_class: type, table: str) -> Iterator[str]:
    """A line and its help for every field; the fields of a table inside follow it, as `table.field`."""
    hints = list_hints(view_settings(config_class))
    for row in list_settings(config_class):
        hint = hints[row["name"]]
        inner = [kind for kind in (hint, *get_args(hint)) if has_settings(kind)]
        if not inner:
            yield f"{table}{row['name']} = {row['default']}  # {row['type']}{row['limits']}"
            yield f"    {row['help']}"
            continue
        yield f"{table}{row['name']}  # a table of its own{', absent by default' if row['default'] == '(absent)' else ''}"
        yield f"    {row['help']}"
        yield from field_lines(inner[0], f"{table}{row['name']}.")


def list_settings(config_class: type) -> Iterator[Mapping[str, str]]:
    """Name, default, type, limits and help of every field."""
    view = view_settings(config_class)
    fields = attrs.fields_dict(view)
    for name, hint in list_hints(view).items():
        yield {
            "name": name,
            "default": format_default(fields[name].default, hint),
            "type": type_name(hint),
            "limits": "".join(map(format_limits, (fields[name].validator, *list_marks(hint)))),
            "help": fields[name].metadata.get("help", ""),
        }


def format_default(default: Any, hint: Any) -> str:
    if default is attrs.NOTHING:
        return "(required)"
    if hasattr(default, "factory"):
        default = "(computed)" if default.takes_self else default.factory()
    if default is None:
        return "(absent)"
    if find_component_kind(hint):
        return type(default).__name__
    inner = list(list_parts_of_type(default, hint, ""))
    if inner and isinstance(default, Mapping):
        return f"{{{', '.join(f'{place[1:]} = {type(config).__name__}' for place, _, config in inner)}}}"
    plain = unstructure_value(default, {}, "")
    return format_value(list(plain) if isinstance(plain, tuple) else plain)


def type_name(hint: Any) -> str:
    """The type in words, such as `float`, `a loss` or `tables, each a loss`."""
    if kind := find_component_kind(hint):
        name = kind.removesuffix("s") if kind in KINDS and KINDS[kind].several else kind
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    if list_marks(hint):
        return type_name(get_args(hint)[0])
    if (is_mapping(hint) or is_sequence(hint)) and (parts := [part for part in get_args(hint) if find_component_kind(part)]):
        return f"{'tables' if is_mapping(hint) else 'a list of tables'}, each {type_name(parts[0])}"
    text = hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", None) else str(hint)
    return re.sub(r"typing\.|collections\.abc\.|pathlib\.|forestgaps_\w+(\.\w+)*\.", "", text)


def format_limits(validator: Any) -> str:
    """The bounds of attrs' own validators, such as ', >= 0, < 1'."""
    if validator is None:
        return ""
    inner = getattr(validator, "_validators", None)
    if inner is not None:
        return "".join(format_limits(one) for one in inner)
    for name in ("validator", "member_validator"):
        if hasattr(validator, name):
            return format_limits(getattr(validator, name))
    if hasattr(validator, "bound"):
        return f", {validator.compare_op} {validator.bound}"
    return ""


PLOT_ROWS, PLOT_COLUMNS, PLOT_STEPS = 12, 72, 720
EIGHTHS = " ▁▂▃▄▅▆▇█"


def plot_schedules(topic: str, plugins: Plugins) -> str:
    """The factor of a schedule over a run, drawn in text: of `scheduler.NAME`, or of each for `scheduler`.

    Raises:
        ConfigError: The topic is no schedule.
    """
    kind, _, name = topic.partition(".")
    if ALIASES.get(kind, kind) != "scheduler":
        raise ConfigError(f"found {topic!r}; --plot draws scheduler, or scheduler.NAME", "explain")
    if name:
        return plot_schedule(name, plugins)
    curves = []
    for one in list_usable_names(plugins.components("scheduler")):
        try:
            curves.append(plot_schedule(one, plugins))
        except Exception as error:  # one that is broken is no reason not to draw the others
            curves.append(f"scheduler.{one} cannot be drawn: {format_error(error)}")
    return "\n\n".join(curves)


def plot_schedule(name: str, plugins: Plugins) -> str:
    component = plugins.component("scheduler", name)
    required = [a.name for a in attrs.fields(view_settings(component.load())) if a.default is attrs.NOTHING]
    if required:
        return f"scheduler.{name} has no curve of its own: it needs {', '.join(required)}"
    lengths = {"total_steps": lambda: PLOT_STEPS, "steps_per_epoch": lambda: PLOT_STEPS // 10}
    schedule = build("scheduler", component.load()(), lengths)
    stride = PLOT_STEPS // PLOT_COLUMNS
    factors = [schedule(step) for step in range(0, PLOT_STEPS, stride)]
    top = max(*factors, 1e-12)
    eighths = [round(factor / top * PLOT_ROWS * 8) for factor in factors]
    rows = ["".join(EIGHTHS[min(max(height - row * 8, 0), 8)] for height in eighths) for row in reversed(range(PLOT_ROWS))]
    labels = [f"{top:8.3g} " if row == 0 else f"{0:8.3g} " if row == PLOT_ROWS - 1 else " " * 9 for row in range(PLOT_ROWS)]
    lines = [label + row for label, row in zip(labels, rows, strict=True)]
    return "\n".join(
        [f"scheduler.{name}: factor on the learning rate, with its defaults", *lines, " " * 9 + "0 ... end of the run"]
    )


def first_line(config_class: type) -> str:
    return (inspect.getdoc(config_class) or "").split("\n")[0]
