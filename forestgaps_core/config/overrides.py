"""Changes of a run file on the command line, such as `--set loss.gamma=1.5`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from forestgaps_core.config.mistakes import format_key, format_value
from forestgaps_core.config.toml_files import DEEPEST, parse_toml
from forestgaps_core.errors import ConfigError


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
