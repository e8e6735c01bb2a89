"""The forms in which a component may be written, and the class of settings that each is read as.

- An attrs class or a frozen dataclass with a method `build` is a class of settings; `build` returns the component.
- Any other class is the component itself, such as a subclass of `nn.Module`.
- A function of a kind that is called, such as a loss (`Kind.calls`), is the component itself. Its first parameters are the call's.
- A function of another kind returns the component.

In a signature, the parameters after the `*` are settings. Those before it are given by the core, by name, as those of `build`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import attrs
from attrs.validators import and_

from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.kinds import KINDS, Kind
from forestgaps_core.plugins.isolation import format_error
from forestgaps_core.plugins.renamed_settings import explain_old_names
from forestgaps_core.settings import find_component_kind

EXPECTED = "expected a function, a class, or an attrs class or frozen dataclass with a method build"
RESERVED = {  # not names of settings
    "name": "chooses the component in a run file",
    "build": "is what a config does",
    "self": "is the config itself",
}
HELP_SECTIONS = ("Args:", "Arguments:", "Attributes:")
ENTRY = re.compile(r"(?P<indentation>\s+)(?P<name>\w+)(?: \([^)]*\))?: *(?P<help>.*)")


def make_config(kind: str, component: Any, **settings: Any) -> Any:
    """Return the config of a component that is written as a function or a class, for use in Python and in tests.

    Example:
        `check_loss(make_config("loss", my_loss, alpha=3.0))`

    Raises:
        PluginError: It cannot be a component of this kind.
    """
    if kind not in KINDS:
        raise PluginError(f"no kind of components named {kind!r}{nearest(kind, KINDS)}; there is: {', '.join(KINDS)}")
    return make_config_class(component, kind, KINDS[kind])(**settings)


def make_config_class(found: Any, name: str, kind: Kind) -> type:
    """Return the class of settings of a component in any form.

    Args:
        name: Of the kind, for messages.

    Raises:
        PluginError: It has none of the forms; a phrase such as "is an object of type int, expected ...".
    """
    if isinstance(found, type) and (attrs.has(found) or dataclasses.is_dataclass(found)):
        if not callable(getattr(found, "build", None)):
            raise PluginError("has no method build; add one that returns what the settings describe")
        try:
            get_type_hints(found)
        except Exception as error:  # annotations are code
            raise PluginError(explain_unreadable_hint(error)) from error
        view = view_settings(found)
        if wrong := explain_old_names(view) or explain_reserved_names(attribute.name for attribute in attrs.fields(view)):
            raise PluginError(wrong)
        return found
    if isinstance(found, type) and callable(getattr(found, "build", None)):
        raise PluginError("is a class without attrs that has a method build: decorate it with attrs.frozen(kw_only=True)")
    if not isinstance(found, type) and not inspect.isroutine(found):
        raise PluginError(f"is an object of type {type(found).__qualname__}, {EXPECTED}")
    calls = () if isinstance(found, type) else kind.calls
    if wrong := explain_parameters(read_parameters(found), calls, name, kind):
        raise PluginError(wrong)
    return make_class_of_signature(found, calls, kind.call_options)


def view_settings(config_class: Any) -> type:
    """Return the attrs class with the fields of a class of settings: itself, or one that is made for a frozen dataclass.

    Raises:
        PluginError: It is a dataclass that cannot be read from a table.
    """
    return config_class if attrs.has(config_class) else make_class_of_dataclass(config_class)


@cache
def make_class_of_dataclass(config_class: Any) -> type:
    if not config_class.__dataclass_params__.frozen:
        raise PluginError(f"is a dataclass that is not frozen ({config_class.__qualname__}); use dataclass(frozen=True)")
    fields = [field for field in dataclasses.fields(config_class) if field.init]
    if further := [name for name in inspect.signature(config_class).parameters if name not in {field.name for field in fields}]:
        raise PluginError(f"takes {further[0]!r}, which is not a field; make it one")
    annotations = get_type_hints(config_class, include_extras=True)
    helps = split_docstring(config_class.__doc__)[1]
    described = {
        field.name: make_field(
            field.name,
            annotations[field.name],
            default=field.default if field.default is not dataclasses.MISSING else make_factory(field),
            metadata={"help": helps.get(field.name, ""), **field.metadata},
        )
        for field in fields
    }

    def check(self: Any) -> None:  # what the dataclass itself requires
        config_class(**{name: getattr(self, name) for name in described})

    return make_attrs_class(config_class, described, {"__attrs_post_init__": check})


def make_factory(field: dataclasses.Field[Any]) -> Any:
    return attrs.NOTHING if field.default_factory is dataclasses.MISSING else attrs.Factory(field.default_factory)


# --- signatures -----------------------------------------------------------------------------------------------------


@cache
def make_class_of_signature(found: Callable[..., Any], calls: tuple[str, ...], call_options: tuple[str, ...]) -> type:
    """Return the class of settings of a function or class: its keyword-only parameters, and a `build` with the others.

    Args:
        calls: Parameters that it is called with in a run; empty if calling it makes the component.
        call_options: Further parameters of the call, by name.
    """
    parameters = [parameter for parameter in read_parameters(found)[len(calls) :] if parameter.name not in call_options]
    settings = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    annotations = read_annotations(found, settings.values())
    helps = {**split_docstring(vars(found).get("__init__", found).__doc__)[1], **split_docstring(found.__doc__)[1]}
    fields = {
        name: make_field(
            name,
            annotations[name],
            default=attrs.NOTHING if parameter.default is parameter.empty else parameter.default,
            metadata={"help": helps.get(name, "")},
        )
        for name, parameter in settings.items()
    }

    def build(self: Any, **given: Any) -> Any:
        arguments = {**given, **{name: getattr(self, name) for name in fields}}
        if not calls:
            return found(**arguments)
        component = partial(found, **arguments)
        component.__dict__.update(vars(found))  # what a component declares, such as the `outputs` of a loss
        return component

    def declared(self: Any, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(found, name)

    def reduce(self: Any) -> Any:  # pickle finds the function under the name of this class
        return restore_config, (found, calls, call_options, {name: getattr(self, name) for name in fields})

    given = [parameter for parameter in parameters if parameter.name not in settings]
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    build.__signature__ = inspect.Signature([itself, *given])  # type: ignore[attr-defined]
    return make_attrs_class(found, fields, {"build": build, "__getattr__": declared, "__reduce__": reduce})


def restore_config(
    found: Callable[..., Any], calls: tuple[str, ...], call_options: tuple[str, ...], settings: Mapping[str, Any]
) -> Any:
    return make_class_of_signature(found, calls, call_options)(**settings)


def read_parameters(found: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError) as error:
        raise PluginError(f"has no signature that can be read ({error}); call it in a function of your own") from error


def explain_parameters(parameters: Sequence[inspect.Parameter], calls: Sequence[str], name: str, kind: Kind) -> str:
    """Return what keeps a signature from being that of a component, or ''."""
    before = [parameter for parameter in parameters if parameter.kind <= parameter.POSITIONAL_OR_KEYWORD]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"takes {parameter}, which hides its settings; name each of them after a *"
    if len(before) < len(calls):
        found = ", ".join(parameter.name for parameter in before)
        return f"takes ({found}) before its settings; a {name} is called with ({', '.join(calls)})"
    for parameter in before[len(calls) :]:
        known = [*kind.arguments, *kind.call_options, *(() if calls else ("build_inner",))]
        if parameter.name not in known:
            there = f"there is: {', '.join(known) or 'nothing'}"
            return (
                f"takes {parameter.name!r} before the *, which a {name} is not given{nearest(parameter.name, known)}; {there}. "
                f"Write settings after the *, as in (..., *, {parameter.name}: float = 1.0)"
            )
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name in kind.call_options:
            continue
        if wrong := explain_reserved_names([parameter.name]):
            return wrong
        if parameter.annotation is parameter.empty:
            meaning = kind.arguments.get(parameter.name)
            advice = f"; to be given {meaning}, write it before the *" if meaning else ""
            return f"has a setting {parameter.name!r} without a type hint, so that no value can be checked{advice}"
        if type(parameter.default).__hash__ is None:
            changing = type(parameter.default).__name__
            return f"has a setting {parameter.name!r} whose default is a {changing}, which calls would share; use a tuple or None"
    return ""


def explain_reserved_names(names: Iterable[str]) -> str:
    return next((f"has a setting {name!r}, which {RESERVED[name]}; rename it" for name in names if name in RESERVED), "")


def read_annotations(found: Callable[..., Any], settings: Iterable[inspect.Parameter]) -> dict[str, Any]:
    """Return the type hints of settings, evaluated; those of other parameters may name what is imported for type checkers only."""
    function = inspect.unwrap(getattr(found, "__init__") if isinstance(found, type) else found)  # noqa: B009  # mypy: unsound
    holder = type("Settings", (), {"__annotations__": {setting.name: setting.annotation for setting in settings}})
    try:
        return get_type_hints(holder, globalns=getattr(function, "__globals__", {}), include_extras=True)
    except Exception as error:  # annotations are code
        raise PluginError(explain_unreadable_hint(error)) from error


def explain_unreadable_hint(error: Exception) -> str:
    return f"has an annotation that cannot be read ({format_error(error)}); import its names where the class is defined"


# --- fields ---------------------------------------------------------------------------------------------------------


def make_field(name: str, annotation: Any, *, default: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the attrs field of a setting; `Annotated[float, gt(0)]` holds its type and validators of attrs."""
    validators: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated and find_component_kind(annotation) is None:
        validators = annotation.__metadata__
        annotation = annotation.__origin__
        if unknown := [validator for validator in validators if not callable(validator)]:
            raise PluginError(f"annotates {name!r} with {unknown[0]!r}, expected validators of attrs, such as gt(0)")
    if contains_annotated(annotation):
        raise PluginError(f"has Annotated inside the type hint of {name!r}; write it around the whole hint")
    validator = and_(*validators) if validators else None
    return attrs.field(default=default, validator=validator, metadata=metadata, type=annotation, alias=name)


def contains_annotated(annotation: Any) -> bool:
    if find_component_kind(annotation) is not None:
        return False
    return get_origin(annotation) is Annotated or any(map(contains_annotated, get_args(annotation)))


def make_attrs_class(source: Any, fields: Mapping[str, Any], methods: Mapping[str, Any]) -> type:
    """Return a frozen attrs class with the name, module and docstring of what it is made for."""
    made: type = attrs.make_class(source.__name__, dict(fields), frozen=True, kw_only=True, class_body=dict(methods))
    made.__module__, made.__qualname__ = source.__module__, source.__qualname__
    made.__doc__ = split_docstring(source.__doc__)[0]
    return made


def split_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return a docstring without its sections on parameters, and what those say of each."""
    text, helps = list[str](), dict[str, str]()
    indentation: str | None = None  # of the entries of the section; None outside of one
    name = ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line in HELP_SECTIONS:
            indentation = ""
        elif indentation is None or (line and not line.startswith(" ")):
            indentation = None
            text.append(line)
        elif (entry := ENTRY.fullmatch(line)) and indentation in ("", entry["indentation"]):
            indentation, name = entry["indentation"], entry["name"]
            helps[name] = entry["help"]
        elif line:
            helps[name] = f"{helps.get(name, '')} {line.strip()}".strip()
    return "\n".join(text).strip(), helps
