"""Convert tables of a run file to frozen configs. The conversion is strict and reports all mistakes at once.

cattrs does the walking. Its defaults are lenient (7.9 becomes 7, "false" becomes True, an unknown key is ignored) and it
stops at the first validator that fails, so this converter replaces the hooks for plain values and for attrs classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs

from forestgaps_core.config.mistakes import (
    Mistake,
    MistakesError,
    explain_validator_error,
    format_place,
    format_value,
    limit_mistakes,
    make_mistake,
)
from forestgaps_core.config.plain_values import accept_exactly, is_literal, structure_enum, structure_literal, structure_path
from forestgaps_core.errors import ConfigError, nearest
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.isolation import format_error
from forestgaps_core.plugins.renamed_settings import apply_new_names
from forestgaps_core.settings import (
    MAX_DEPTH,
    find_component_kind,
    has_marks,
    has_settings,
    is_mapping,
    is_sequence,
    is_union,
    list_hints,
    list_marks,
    unstructure_config,
)

T = TypeVar("T")


PLAIN = (int, float, bool, str)

# Gives the config class of the component of a kind that a table names, by the place of the table.
FindClass = Callable[[str, Mapping[str, Any], tuple[str, ...]], type]


class StrictConverter(cattrs.Converter):
    """A cattrs converter that takes nothing for what it is not.

    Args:
        place: Of the value that is structured.
        find_class: For fields of type `Component[kind]`. Without it, there are no components to choose from.
    """

    def __init__(self, place: tuple[str, ...] = (), find_class: FindClass | None = None) -> None:
        super().__init__(forbid_extra_keys=True, detailed_validation=True)
        self.place, self.find_class = place, find_class
        for kind in PLAIN:
            self.register_structure_hook(kind, accept_exactly(kind))
        self.register_structure_hook(Path, structure_path)
        self.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), structure_enum)
        self.register_structure_hook_func(is_literal, structure_literal)
        self.register_structure_hook_func(is_union, self.structure_union)
        self.register_structure_hook_func(is_sequence, self.structure_sequence)
        self.register_structure_hook_func(is_mapping, self.structure_mapping)
        self.register_structure_hook_func(has_settings, self.structure_settings)
        self.register_structure_hook_func(has_marks, self.structure_marked)

    def structure_part(self, key: str, value: Any, kind: Any, found: list[Mistake]) -> Any:
        """The value of a key; its mistakes are added to those found."""
        outer, self.place = self.place, (*self.place, key)
        try:
            return self.structure(value, kind)
        except MistakesError as error:
            found += [((key, *path), sentence) for path, sentence in error.found]
            return None
        finally:
            self.place = outer

    def structure_settings(self, value: Any, kind: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise make_mistake(f"found {format_value(value)}, expected a table")
        view = view_settings(kind)
        settings, hints = {field.name: field for field in attrs.fields(view) if field.init}, list_hints(view)
        value, old_names, found = apply_new_names(view, value)
        arguments: dict[str, Any] = {}
        for key in value:
            if key not in settings:
                known = ", ".join(settings) or "no keys at all"
                found.append(((str(key),), f"unknown key{nearest(str(key), settings)}; there is: {known}"))
        for name, setting in settings.items():
            if name not in value:
                if setting.default is attrs.NOTHING:
                    found.append(((name,), f"is missing: {setting.metadata.get('help') or 'it has no default'}"))
                elif type(setting.default) in PLAIN:  # else a run folder could not be read again
                    wrong: list[Mistake] = []
                    self.structure_part(name, setting.default, hints[name], wrong)
                    found += [(path, f"its default: {sentence}") for path, sentence in wrong]
                continue
            mistakes = len(found)
            structured = self.structure_part(name, value[name], hints[name], found)
            if len(found) == mistakes:
                arguments[name] = structured
        complete = not any(path[0] in settings for path, _ in found)
        found += self.failed_validators(view, settings, arguments, complete=complete)
        if found:  # with the names that are in the file
            raise MistakesError([((*(old_names.get(key, key) for key in path[:1]), *path[1:]), text) for path, text in found])
        return kind(**arguments)

    def failed_validators(
        self, kind: Any, settings: Mapping[str, Any], arguments: Mapping[str, Any], *, complete: bool
    ) -> list[Mistake]:
        """Run every validator, where attrs would stop at the first that fails."""
        found: list[Mistake] = []
        instance = None
        if complete:
            with attrs.validators.disabled():
                try:
                    instance = kind(**arguments)
                except (ValueError, TypeError, ArithmeticError):
                    instance = None  # raised again below, once the fields are known to be right
        for name, value in arguments.items():
            if settings[name].validator is None:
                continue
            try:
                settings[name].validator(instance, settings[name], value)
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

    def structure_marked(self, value: Any, kind: Any) -> Any:
        """A value of a type with marks: a component, or limits on a plain value."""
        component = find_component_kind(kind)
        if component is not None:
            return self.structure_component(value, component)
        structured = self.structure(value, get_args(kind)[0])
        name = self.place[-1] if self.place else "value"
        for validator in filter(callable, list_marks(kind)):
            try:
                validator(None, SimpleNamespace(name=name), structured)
            except (ValueError, TypeError, ArithmeticError) as error:
                reason = explain_validator_error(error, name, structured)
                raise make_mistake(f"found {format_value(structured)}; {reason}") from error
        return structured

    def structure_component(self, value: Any, kind: str) -> Any:
        if not isinstance(value, Mapping):
            raise make_mistake(f'found {format_value(value)}, expected a table with the name of a {kind}, such as {{name = "..."}}')
        if self.find_class is None:
            raise make_mistake(f"holds a {kind}, which cannot be chosen here")
        if len(self.place) > MAX_DEPTH:
            raise make_mistake(f"components in one another, more than {MAX_DEPTH} tables deep")
        config_class = self.find_class(kind, value, self.place)
        settings = {key: item for key, item in value.items() if key != "name"}
        try:
            return self.structure_settings(settings, config_class)
        except MistakesError:
            raise
        except Exception as error:  # a config class may raise anything, and have fields of any type
            raise make_mistake(f"the settings of {value.get('name')} cannot be read: {format_error(error)}") from error

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
        found: list[Mistake] = []
        items = [self.structure_part(f"[{number}]", item, inner[0 if each else number], found) for number, item in enumerate(value)]
        if found:
            raise MistakesError(found)
        return tuple(items)

    def structure_mapping(self, value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise make_mistake(f"found {format_value(value)}, expected a table")
        inner = get_args(kind)[1] if len(get_args(kind)) == 2 else Any
        found: list[Mistake] = []
        items = {str(key): self.structure_part(str(key), item, inner, found) for key, item in value.items()}
        if found:
            raise MistakesError(found)
        return items


def structure_config(
    value: Any, kind: Any, place: tuple[str, ...] = (), find_class: FindClass | None = None
) -> tuple[Any, list[str]]:
    """The config, or None and the mistakes, each a sentence beginning with its place such as `loss.gamma`.

    Args:
        kind: A config class, or `Component[...]`.
        find_class: For the components in it.
    """
    try:
        return StrictConverter(place, find_class).structure(value, kind), []
    except MistakesError as error:
        return None, [f"{format_place((*place, *path)) or 'the file'}: {sentence}" for path, sentence in sorted(error.found)]


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


def unstructure(config: Any, names: Mapping[str, str] = MappingProxyType({}), place: str = "") -> dict[str, Any]:
    """The table of a config, of plain values TOML can hold.

    Args:
        names: Of the components in it, by place.
        place: Of the config.
    """
    return unstructure_config(config, names, place)
