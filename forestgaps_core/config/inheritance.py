"""Run files that inherit from others: `base = "other.toml"`, with a path that starts at the folder of the file.

A table of the file is merged into the table of its base, key by key, to any depth. It replaces that table instead if both have a
`name` and the names differ, since the settings of one component mean nothing to another, or if it is empty. Lists and plain values
replace what the base has.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.config.mistakes import format_value
from forestgaps_core.config.overrides import is_same_component
from forestgaps_core.config.plain_values import explain_unusable_path
from forestgaps_core.config.toml_files import read_table
from forestgaps_core.errors import ConfigError

Place = tuple[str, ...]  # keys of tables
Sources = Mapping[Place, Path]  # the file of each value
MAX_FILES = 16  # that inherit one from another
MAX_LINES = 100  # of a value; a longer one is tried at closing brackets and quotation marks only


def read_run_file(path: Path, inheriting: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Sources]:
    """Return the tables of a run file, with those that it inherits, and the file of each value.

    Raises:
        ConfigError: A file cannot be read, or they inherit in a circle.
    """
    table = read_table(path)
    base = table.pop("base", None)
    sources = dict.fromkeys(list_places(table), path)
    if base is None:
        return table, sources
    chain = (*inheriting, path)
    if wrong := explain_wrong_base(base, chain):
        raise ConfigError(f"base: {wrong}", str(path))
    file = path.parent / base
    try:
        inherited, origins = read_run_file(file, chain)
    except ConfigError as error:
        raise ConfigError([f"base: {file}: {problem}" for problem in error.problems], str(path)) from error
    merged = merge_tables(inherited, table)
    return merged, {place: sources.get(place) or origins[place] for place in list_places(merged)}


def explain_wrong_base(base: Any, chain: tuple[Path, ...]) -> str:
    """Return what is wrong with the base of the last file of a chain, or ''."""
    if not isinstance(base, str) or not base:
        return f"found {format_value(base)}, expected the path of a run file (text)"
    if wrong := explain_unusable_path(base):
        return f"found {format_value(base)}, which {wrong}"
    file = chain[-1].parent / base
    if file.resolve() in (earlier.resolve() for earlier in chain):
        return f"leads in a circle: {' > '.join(map(str, (*chain, file)))}"
    return f"more than {MAX_FILES} files inherit one from another" if len(chain) >= MAX_FILES else ""


def merge_tables(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a base with the changes of a file that inherits it."""
    merged = dict(base)
    for key, value in table.items():
        before = base.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and value and not is_another(before, value):
            value = merge_tables(before, value)
        merged[key] = value
    return merged


def is_another(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two tables are of different components."""
    return "name" in before and "name" in after and not is_same_component(before["name"], after["name"])


def list_places(table: Mapping[str, Any], place: Place = ()) -> Iterator[Place]:
    """Yield the places of all values that are not tables, and of empty tables."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from list_places(value, (*place, key))
        else:
            yield (*place, key)


def find_lines(text: str) -> dict[Place, int]:
    """Return the line at which each value of a TOML text is written, from 1.

    A header or a value is a TOML text itself, so lines are joined until they are one.
    """
    lines: dict[Place, int] = {}
    header: Place = ()
    statement: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        statement.append(line)
        if len(statement) > MAX_LINES and not line.rstrip().endswith(("]", "}", '"""', "'''")):
            continue
        try:
            table = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue
        places = list(list_places(table))
        if statement[0].lstrip().startswith("[") and places:
            header = places.pop()
            lines.setdefault(header, number)
        for place in places:
            lines.setdefault((*header, *place), number - len(statement) + 1)
        statement = []
    return lines
