"""Markdown tables of settings, from the fields of a config class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from forestgaps_core.config.explain import list_settings
from forestgaps_core.settings import has_settings

PLURALS = {"integer": "integers", "number": "numbers", "text": "texts", "path": "paths"}
TYPES = {"bool": "true or false", "int": "integer", "float": "number", "str": "text", "Path": "path"}
UNITS = {"m": "m", "m2": "m²", "px": "pixels", "deg": "degrees"}  # by the last part of a name
UNIT_WORDS = {"meters": "m", "square meters": "m²", "pixels": "pixels", "degrees": "degrees", "seconds": "s", "minutes": "min"}
FIRST_WORDS = {"Epochs": "epochs", "Optimizer steps": "steps", "Steps": "steps", "Seconds": "s", "Pixels": "pixels"}


def settings_table(config_class: type) -> Iterator[str]:
    """Yield the lines of a table with a row for each setting."""
    rows = list(settings_rows(config_class))
    if not rows:
        yield "No settings."
        return
    columns = ["setting", "type", "default", "range", "unit", "meaning"]
    kept = [number for number, name in enumerate(columns) if name not in ("range", "unit") or any(row[number] for row in rows)]
    for row in [columns, ["---"] * len(columns), *rows]:
        yield "|" + "|".join("---" if row[number] == "---" else f" {row[number]} " for number in kept) + "|"


def settings_rows(config_class: type, inside: str = "") -> Iterator[list[str]]:
    """Yield a row for each field; a field that is a table of its own is followed by the fields of that table."""
    hints = get_type_hints(config_class)
    for row in list_settings(config_class):
        hint = hints[row["name"]]
        name = f"`{inside}{row['name']}`"
        if has_settings(hint):
            yield [name, "table", "as below", "", "", escape_prose(row["help"])]
            yield from settings_rows(hint, f"{inside}{row['name']}.")
            continue
        default = row["default"].strip("()") if row["default"].startswith("(") else code(row["default"])
        yield [name, describe_type(hint), default, describe_range(row["limits"]), find_unit(row, hint), escape_prose(row["help"])]


def describe_type(hint: Any) -> str:
    """Return a type in words, such as "list of numbers" or "`area` or `site`"."""
    words = list(dict.fromkeys(alternatives(hint)))
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def alternatives(hint: Any) -> Iterator[str]:
    origin, arguments = get_origin(hint), [argument for argument in get_args(hint) if argument not in (type(None), ...)]
    if origin is Literal:
        yield from (code(str(choice)) for choice in arguments)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield "table"
    elif origin in (tuple, list):
        inner = describe_type(arguments[0])
        yield f"list of {PLURALS.get(inner, inner)}"
    elif arguments:
        for argument in arguments:
            yield from alternatives(argument)
    else:
        yield TYPES.get(hint.__name__, hint.__name__)


def describe_range(limits: str) -> str:
    """Return bounds such as ", >= 0, < 1" in the form "0 to 1", or as they are where a bound is excluded."""
    limits = re.sub(r"1000000(\.0)?\b", "10⁶", limits).removeprefix(", ").replace(", < inf", "")
    if closed := re.fullmatch(r">= ([^,]+), <= ([^,]+)", limits):
        return f"{closed[1]} to {closed[2]}"
    signs = {">= ": "≥&nbsp;", "<= ": "≤&nbsp;", "> ": ">&nbsp;", "< ": "&lt;&nbsp;"}
    return re.sub("|".join(signs), lambda sign: signs[sign[0]], limits)


def find_unit(row: Mapping[str, str], hint: Any) -> str:
    """Return the unit that the name or the help of a setting gives: `size_px`, "Side of a tile, pixels"."""
    if not re.search(r"integer|number", describe_type(hint)):
        return ""
    if unit := UNITS.get(row["name"].rpartition("_")[2]):
        return unit
    words = re.search(rf", ({'|'.join(sorted(UNIT_WORDS, key=len, reverse=True))})\b", row["help"])
    first = re.match(rf"({'|'.join(FIRST_WORDS)})\b", row["help"])
    return UNIT_WORDS[words[1]] if words else FIRST_WORDS[first[1]] if first else ""


def code(text: str) -> str:
    """Return a text as code that may stand in a cell of a table."""
    if "|" in text:  # renderers disagree on how to escape it
        return f"<code>{text.replace('|', '&#124;')}</code>"
    return f"`{text}`" if text else ""


OPTION = re.compile(r"(?<![\w/-])(--[a-z][a-z-]*|-[a-z](?: [\d.,]+\d)?)(?![\w-])")


def escape_prose(text: str) -> str:
    """Return one paragraph, in which only code is taken for Markdown: what is in backticks, and options such as --out."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))  # at odd places: what was in backticks
    return "".join(code(part) if number % 2 else escape_words(part) for number, part in enumerate(parts))


def escape_words(text: str) -> str:
    parts = OPTION.split(text)  # at odd places: options
    return "".join(code(part) if number % 2 else re.sub(r"([*_<|\[\]])", r"\\\1", part) for number, part in enumerate(parts))
