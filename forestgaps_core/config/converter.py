"""Convert tables of a run file to frozen configs. The conversion is strict and reports all mistakes at once.

cattrs does the walking. Its defaults are lenient (7.9 becomes 7, "false" becomes True, an unknown key is ignored) and it
stops at the first validator that fails, so this converter replaces the hooks for plain values and for attrs classes.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from forestgaps_core.errors import ConfigError, nearest, shorten
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.renamed_settings import apply_new_names

T = TypeVar("T")

LISTED = 100  # mistakes printed; nobody reads more
LONGEST = 300  # characters of what a validator says
WHOLE = "64 bits"  # of whole numbers: what TOML promises and tensors hold
BARE = re.compile(r"[A-Za-z0-9_-]{1,60}")
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, as Linux, macOS and most disks have it

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path (text)", dict: "a table"}


class MistakesError(Exception):
    """Mistakes below some place; each is (path inside, sentence)."""

    def __init__(self, found: list[tuple[tuple[str, ...], str]]) -> None:
        self.found = found
        super().__init__(str(found))


def make_mistake(sentence: str) -> MistakesError:
    return MistakesError([((), sentence)])


def format_value(value: Any) -> str:
    """Return a value as in TOML, shortened if it is long."""
    try:
        text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, lists of lists of lists
        text = f"a {type(value).__name__} too long to show"
    return shorten(text)


def format_key(key: str) -> str:
    """A key as TOML has it: in quotation marks unless it is plain, so that its dots and control characters show."""
    return shorten(key) if BARE.fullmatch(key) else format_value(key)


def limit_mistakes(problems: Sequence[str]) -> list[str]:
    """The first of many mistakes, and how many more there are."""
    more = len(problems) - LISTED
    return [*problems[:LISTED], f"and {more} more"] if more > 0 else list(problems)


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


class StrictConverter(cattrs.Converter):
    """A cattrs converter that takes nothing for what it is not."""

    def __init__(self) -> None:
        super().__init__(forbid_extra_keys=True, detailed_validation=True)
        for kind in (int, float, bool, str):
            self.register_structure_hook(kind, accept_exactly(kind))
        self.register_structure_hook(Path, structure_path)
        self.register_unstructure_hook(Path, lambda path: path.as_posix())
        self.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), structure_enum)
        self.register_structure_hook_func(is_literal, structure_literal)
        self.register_structure_hook_func(is_union, self.structure_union)
        self.register_structure_hook_func(is_sequence, self.structure_sequence)
        self.register_structure_hook_func(is_mapping, self.structure_mapping)
        self.register_structure_hook_func(is_dataclass, self.structure_dataclass)
        self.register_structure_hook_func(attrs.has, self.structure_attrs)
        # None cannot be said in TOML: an absent key means it.
        self.register_unstructure_hook_factory(has_settings, lambda kind: drop_none(make_dict_unstructure_fn(kind, self)))

    def structure_dataclass(self, value: Any, kind: Any) -> Any:
        if isinstance(value, kind):
            return value
        view = view_settings(kind)
        settings = self.structure_attrs(value, view)
        return kind(**{attribute.name: getattr(settings, attribute.name) for attribute in attrs.fields(view)})

    def structure_attrs(self, value: Any, kind: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise make_mistake(f"found {format_value(value)}, expected a table")
        fields = {a.name: a for a in attrs.fields(kind) if a.init}
        hints = get_type_hints(kind)
        value, old_names, found = apply_new_names(kind, value)
        arguments: dict[str, Any] = {}
        for key in value:
            if key not in fields:
                known = ", ".join(fields) or "no keys at all"
                found.append(((str(key),), f"unknown key{nearest(str(key), fields)}; there is: {known}"))
        for name, attribute in fields.items():
            if name not in value:
                if attribute.default is attrs.NOTHING:
                    found.append(((name,), f"is missing: {attribute.metadata.get('help', 'it has no default')}"))
                continue
            try:
                arguments[name] = self.structure(value[name], hints.get(name, Any))
            except MistakesError as error:
                found += [((name, *path), sentence) for path, sentence in error.found]
        complete = not any(path[0] in fields for path, _ in found)
        found += self.failed_validators(kind, fields, arguments, complete=complete)
        if found:  # with the names that are in the file
            raise MistakesError([((*(old_names.get(key, key) for key in path[:1]), *path[1:]), text) for path, text in found])
        return kind(**arguments)

    def failed_validators(
        self, kind: Any, fields: Mapping[str, Any], arguments: Mapping[str, Any], *, complete: bool
    ) -> list[tuple[tuple[str, ...], str]]:
        """Run every validator, where attrs would stop at the first that fails."""
        found: list[tuple[tuple[str, ...], str]] = []
        instance = None
        if complete:
            with attrs.validators.disabled():
                try:
                    instance = kind(**arguments)
                except (ValueError, TypeError, ArithmeticError):
                    instance = None  # raised again below, once the fields are known to be right
        for name, value in arguments.items():
            if fields[name].validator is None:
                continue
            try:
                fields[name].validator(instance, fields[name], value)
            except (ValueError, TypeError, ArithmeticError) as error:
                found.append(((name,), f"found {format_value(value)}; {explain_validator_error(error, name, value)}"))
            except AttributeError:  # a validator that compares fields, of an instance that could not be made
                if instance is not None:
                    raise
        if not found and complete:
            try:
                kind(**arguments)
            except (ValueError, TypeError, ArithmeticError) as error:
                found.append(((), explain_validator_error(error)))
        return found

    def structure_union(self, value: Any, kind: Any) -> Any:
        choices = [choice for choice in get_args(kind) if choice is not type(None)]
        mistakes = []
        for choice in choices:
            try:
                return self.structure(value, choice)
            except MistakesError as error:
                mistakes.append(error)
        if len(choices) == 1:
            raise mistakes[0]
        raise make_mistake("; or: ".join(sentence for error in mistakes for _, sentence in error.found))

    def structure_sequence(self, value: Any, kind: Any) -> Any:
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
            raise make_mistake(f"found {format_value(value)}, expected a list in [brackets]")
        inner = get_args(kind) or (Any,)
        each = (get_origin(kind) or kind) is not tuple or inner[-1] is Ellipsis or not get_args(kind)  # of any length
        if not each and len(value) != len(inner):
            raise make_mistake(f"found {format_value(list(value))}, expected a list of {len(inner)}")
        items, found = [], []
        for place, item in enumerate(value):
            try:
                items.append(self.structure(item, inner[0 if each else place]))
            except MistakesError as error:
                found += [((str(place), *path), sentence) for path, sentence in error.found]
        if found:
            raise MistakesError(found)
        return tuple(items)

    def structure_mapping(self, value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise make_mistake(f"found {format_value(value)}, expected a table")
        inner = get_args(kind)[1] if len(get_args(kind)) == 2 else Any
        items, found = {}, []
        for key, item in value.items():
            try:
                items[str(key)] = self.structure(item, inner)
            except MistakesError as error:
                found += [((str(key), *path), sentence) for path, sentence in error.found]
        if found:
            raise MistakesError(found)
        return items


def has_settings(kind: Any) -> bool:
    return attrs.has(kind) or is_dataclass(kind)


def is_literal(kind: Any) -> bool:
    return bool(get_origin(kind) == Literal)


def is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def is_sequence(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return (isinstance(origin, type) and origin in (tuple, list)) or getattr(origin, "__name__", "") == "Sequence"


def is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return getattr(origin, "__name__", "") in ("Mapping", "dict")


def drop_none(unstructure: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda config: {key: value for key, value in unstructure(config).items() if value is not None}


def explain_validator_error(error: Exception, name: str = "", value: Any = None) -> str:
    """What a validator said, without the field's name and value that the sentence tells already."""
    text = str(error.args[0]) if error.args else type(error).__name__
    text = text.removeprefix(f"'{name}' ").removesuffix(f": {value}")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def structure_config(value: Any, kind: type, place: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    """The config, or None and the mistakes, each a sentence beginning with its place such as `loss.gamma`."""
    try:
        return StrictConverter().structure(value, kind), []
    except MistakesError as error:
        return None, [
            f"{'.'.join(map(format_key, (*place, *path))) or 'the file'}: {sentence}" for path, sentence in sorted(error.found)
        ]


def structure(value: Any, kind: type[T], source: str = "run file") -> T:
    """The config of a table.

    Raises:
        ConfigError: With all mistakes.
    """
    config, problems = structure_config(value, kind)
    if problems:
        raise ConfigError(limit_mistakes(problems), source)
    made: T = config
    return made


def unstructure(config: Any) -> dict[str, Any]:
    """The table of a config, of plain values TOML can hold."""
    table: dict[str, Any] = StrictConverter().unstructure(config)
    return table
