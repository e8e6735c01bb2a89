"""Read plain values of a run file strictly: numbers, texts, paths and choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from forestgaps_core.config.mistakes import format_value, make_mistake
from forestgaps_core.errors import nearest

WHOLE = "64 bits"  # of whole numbers: what TOML promises and tensors hold
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, as Linux, macOS and most disks have it
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path (text)", dict: "a table"}


def exceeds_64_bits(value: Any) -> bool:
    """Whether a whole number is more than 64 bits hold."""
    return isinstance(value, int) and value.bit_length() > 63


def accept_exactly(kind: type) -> Callable[[Any, Any], Any]:
    """Accept exactly this kind of value; a whole number is a fine `float`."""

    def structure(value: Any, _: Any) -> Any:
        if exceeds_64_bits(value):
            raise make_mistake(f"found a whole number beyond {WHOLE}, expected {NAMES[kind]}")
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind or value != value:
            raise make_mistake(f"found {format_value(value)}, expected {NAMES[kind]}")
        return value

    return structure


def structure_path(value: Any, _: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise make_mistake(f"found {format_value(value)}, expected {NAMES[Path]}")
    if wrong := explain_unusable_path(value):
        raise make_mistake(f"found {format_value(value)}, which {wrong}")
    return Path(value)


def explain_unusable_path(path: str) -> str:
    """Why no disk would take this path, or ''."""
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in path):
        return "has control characters"
    if len(whole := path.encode("utf-8", "surrogatepass")) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    return f"has a name of more than {LONGEST_NAME} bytes" if any(len(name) > LONGEST_NAME for name in whole.split(b"/")) else ""


def validate_path(instance: Any, attribute: Any, path: str) -> None:
    """Validates a text that may be a path."""
    if wrong := explain_unusable_path(path):
        raise ValueError(wrong)


def structure_enum(value: Any, kind: Any) -> Any:
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise make_mistake(explain_choices(value, [member.value for member in kind]))


def explain_choices(value: Any, known: list[Any]) -> str:
    near = nearest(value, [str(k) for k in known]) if isinstance(value, str) else ""
    return f"found {format_value(value)}, expected one of {', '.join(format_value(k) for k in known)}{near}"


def structure_literal(value: Any, kind: Any) -> Any:
    for known in get_args(kind):
        if type(known) is type(value) and known == value:
            return value
    raise make_mistake(explain_choices(value, list(get_args(kind))))


def is_literal(kind: Any) -> bool:
    return bool(get_origin(kind) == Literal)
