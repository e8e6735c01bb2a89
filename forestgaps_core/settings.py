"""The settings of a component, fields of an attrs class or dataclass, and the components inside it.

A field of type `Component["loss"]` holds the config of another component. A run file gives it as a table with a `name` of its own:

    parts: Mapping[str, Component["loss"]]      # [loss.parts.gaps] with name = "dice"
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from forestgaps_core.errors import ConfigError, PluginError

MAX_DEPTH = 32  # of components in one another, as of tables in a file


@frozen
class ComponentKind:
    """The mark that `Component["loss"]` leaves on a type."""

    kind: str


if TYPE_CHECKING:
    Component: Any  # type checkers know the config of another component as `Any`
else:

    class Component:
        """The type of a field that holds the config of another component, by its kind: `Component["loss"]`."""

        def __class_getitem__(cls, kind: str) -> Any:
            return Annotated[Any, ComponentKind(kind)]


def has_settings(kind: Any) -> bool:
    """Whether a class is an attrs class or a dataclass."""
    return isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind))


def list_hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields that a config is made from, with the marks of `Annotated`."""
    hints = get_type_hints(kind, include_extras=True)
    fields = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
    return {field.name: hints.get(field.name, Any) for field in fields if field.init}


# --- types ----------------------------------------------------------------------------------------------------------


def list_marks(hint: Any) -> tuple[Any, ...]:
    """Return what `Annotated` adds to a type."""
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def has_marks(hint: Any) -> bool:
    return get_origin(hint) is Annotated


def find_component_kind(hint: Any) -> str | None:
    """Return the kind of `Component[kind]`, or None for another type."""
    return next((mark.kind for mark in list_marks(hint) if isinstance(mark, ComponentKind)), None)


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def is_sequence(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return (isinstance(origin, type) and origin in (tuple, list)) or getattr(origin, "__name__", "") == "Sequence"


def is_mapping(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return getattr(origin, "__name__", "") in ("Mapping", "dict")


# --- components inside components -------------------------------------------------------------------------------------


def list_inner_components(config: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """Yield place, kind and config of the components inside a component, to any depth.

    Args:
        place: Of the config, such as `loss`; a part of it is at `loss.parts.b`, `loss.parts[1]` or `loss.inner`.

    Raises:
        ConfigError: They are more than `MAX_DEPTH` deep, as of a config that contains itself.
    """
    for inner, kind, part in list_parts(config, place):
        if depth >= MAX_DEPTH:
            raise ConfigError(f"{inner}: components in one another, more than {MAX_DEPTH} deep")
        yield inner, kind, part
        yield from list_inner_components(part, inner, depth + 1)


def list_parts(config: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """Yield place, kind and config of the components that a component contains itself."""
    if has_settings(type(config)):
        for name, hint in list_hints(type(config)).items():
            yield from list_parts_of_type(getattr(config, name), hint, f"{place}.{name}")


def list_parts_of_type(value: Any, hint: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    kind = find_component_kind(hint)
    if kind is not None and value is not None:
        yield place, kind, value
    elif list_marks(hint):
        yield from list_parts_of_type(value, get_args(hint)[0], place)
    elif is_union(hint):
        # Of several choices, a component is the one that a value with settings belongs to.
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        if len(choices) == 1 or has_settings(type(value)):
            for choice in choices:
                yield from list_parts_of_type(value, choice, place)
    elif is_sequence(hint) and isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from list_parts_of_type(item, (get_args(hint) or (Any,))[0], f"{place}[{number}]")
    elif is_mapping(hint) and isinstance(value, Mapping):
        for key, item in value.items():
            yield from list_parts_of_type(item, (get_args(hint) or (Any, Any))[-1], f"{place}.{key}")
    elif has_settings(hint):
        yield from list_parts(value, place)


def offer_build_inner(config: Any, context: Any, build_part: Callable[[str, Any, Any], Any]) -> Callable[..., Any]:
    """Return what `build` gets as `build_inner`.

    It builds the config of a component inside `config`, with the arguments that `build` was offered. Keywords give it further
    arguments, or others in their place: `build_inner(self.encoder, channels=1)`.

    Args:
        context: A `BuildContext`; each part gets one of its own.
        build_part: Called with kind, config and context of a part.
    """
    parts = list(list_parts(config, context.place))

    def build_inner(inner: Any, **arguments: Any) -> Any:
        number = next((number for number, (_, _, part) in enumerate(parts) if part is inner), None)
        if number is None:
            places = ", ".join(place for place, _, _ in parts) or "none"
            raise PluginError(
                f"{context.place}: build_inner got {inner!r:.100}, which is not a component inside; there is: {places}"
            )
        place, kind, _ = part = parts.pop(number)
        parts.append(part)  # one object may be at several places
        given = {name: partial(return_value, value) for name, value in arguments.items()}
        return build_part(kind, inner, attrs.evolve(context, place=place, arguments={**context.arguments, **given}))

    return build_inner


def return_value(value: Any) -> Any:
    return value


def unstructure_config(config: Any, names: Mapping[str, str], place: str) -> dict[str, Any]:
    """Return the table of a config, of plain values.

    Args:
        names: Of the components inside it, by place.
        place: Of the config.
    """
    table = {"name": names[place]} if place in names else {}
    for name in list_hints(type(config)):
        value = getattr(config, name)
        if value is not None:  # TOML has no null: an absent key means it
            table[name] = unstructure_value(value, names, f"{place}.{name}")
    return table


def unstructure_value(value: Any, names: Mapping[str, str], place: str) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Enum):
        return value.value
    if has_settings(type(value)):
        return unstructure_config(value, names, place)
    if isinstance(value, Mapping):
        return {key: unstructure_value(item, names, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([unstructure_value(item, names, f"{place}[{number}]") for number, item in enumerate(value)])
    return value
