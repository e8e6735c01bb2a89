"""The JSON schema (draft 2020-12) of run files, from the installed components: editors complete and check run files with it."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import attrs

from forestgaps_core.config.plain_values import is_literal
from forestgaps_core.config.run_file import REQUIRED, SETTINGS, list_sections
from forestgaps_core.errors import PluginError
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.names import ComponentOffer, full_name
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.plugins.renamed_settings import list_old_names
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

Schema = dict[str, Any]
PLAIN: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1},
}
BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
PART = " of a base"  # in the names of definitions in which nothing is required, because the base may have it


def make_schema(plugins: Plugins) -> Schema:
    """Return the schema of complete run files, and of those that have a base."""
    kinds = [kind for kind, about in plugins.kinds.items() if not about.is_option]
    parts = {f"{kind}{PART}": describe_kind(kind, plugins, complete=False) for kind in kinds}
    wholes = {kind: describe_kind(kind, plugins, complete=True) for kind in kinds}
    base = {"type": "string", "minLength": 1, "description": "The run file that this one inherits, from its own folder."}
    complete = make_object(describe_sections(plugins, complete=True), REQUIRED)
    inheriting = make_object({"base": base, **describe_sections(plugins, complete=False)}, ["base"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Run file of forestgaps",
        "type": "object",
        "anyOf": [complete, inheriting],
        "$defs": {**wholes, **parts},
    }


def make_object(properties: Mapping[str, Schema], required: Any = ()) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}


def refer_to(kind: str, complete: bool) -> Schema:
    return {"$ref": f"#/$defs/{(kind if complete else kind + PART).replace(' ', '%20')}"}


def describe_sections(plugins: Plugins, *, complete: bool) -> dict[str, Schema]:
    sections: dict[str, Schema] = {}
    for section in list_sections(plugins):
        if section in SETTINGS:
            sections[section] = describe_settings(SETTINGS[section], complete=complete)
        elif plugins.kinds[section].several:
            sections[section] = {"type": "object", "additionalProperties": refer_to(section, complete)}
        else:
            sections[section] = refer_to(section, complete)
    return sections


def describe_kind(kind: str, plugins: Plugins, *, complete: bool) -> Schema:
    """Return the schema of a table that chooses a component of this kind."""
    rows = [row for offers in plugins.components(kind).values() for row in offers]
    choices = [describe_component(row, plugins, complete=complete) for row in rows]
    return {"type": "object", "anyOf": choices} if choices else {"type": "object"}


def describe_component(row: ComponentOffer, plugins: Plugins, *, complete: bool) -> Schema:
    old_names = [name for name, aliases in plugins.aliases(row.kind).items() if any(alias.component is row for alias in aliases)]
    names = [row.name] if len(plugins.components(row.kind)[row.name]) == 1 else []
    name = {"enum": [*names, full_name(row), *old_names], "description": f"From {row.plugin.distribution}."}
    try:
        schema = describe_settings(row.load(), complete=complete)
    except PluginError:  # whoever chooses it gets the reason
        schema = {"type": "object", "properties": {}, "required": []}
    schema["properties"] = {"name": name, **schema["properties"]}
    schema["required"] = ["name", *schema["required"]] if complete else []
    return schema


def describe_settings(config_class: Any, *, complete: bool) -> Schema:
    view = view_settings(config_class)
    properties: dict[str, Schema] = {}
    required = []
    old_names = {new: old for old, new, _ in list_old_names(view)}
    for name, hint in list_hints(view).items():
        field = attrs.fields_dict(view)[name]
        properties[name] = describe_type(hint, complete) | dict(describe_limits(field.validator))
        properties[name] |= {"description": field.metadata["help"]} if field.metadata.get("help") else {}
        properties[name] |= describe_default(field.default, hint)
        if name in old_names:
            properties[old_names[name]] = {**properties[name], "deprecated": True}
        elif field.default is attrs.NOTHING and complete:
            required.append(name)
    return make_object(properties, required)


def describe_type(hint: Any, complete: bool) -> Schema:
    """Return the schema of a type; `{}` allows anything."""
    if (kind := find_component_kind(hint)) is not None:
        return refer_to(kind, complete)
    if marks := list_marks(hint):
        return describe_type(get_args(hint)[0], complete) | dict(pair for mark in marks for pair in describe_limits(mark))
    if get_origin(hint) in (Union, types.UnionType):
        choices = [describe_type(choice, complete) for choice in get_args(hint) if choice is not type(None)]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}
    if is_literal(hint):
        return {"enum": list(get_args(hint))}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if is_sequence(hint):
        inner = get_args(hint) or (Any,)
        if (get_origin(hint) or hint) is tuple and inner[-1] is not Ellipsis and get_args(hint):
            items = [describe_type(one, complete) for one in inner]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "items": describe_type(inner[0], complete)}
    if is_mapping(hint):
        return {"type": "object", "additionalProperties": describe_type((get_args(hint) or (Any,))[-1], complete)}
    return describe_settings(hint, complete=complete) if has_settings(hint) else dict(PLAIN.get(hint, {}))


def describe_limits(validator: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keywords for bounds and choices of the validators of attrs."""
    for one in getattr(validator, "_validators", (validator,)):
        if hasattr(one, "bound") and math.isfinite(one.bound):
            yield BOUNDS[one.compare_op], one.bound
        elif hasattr(one, "validator"):  # of attrs.validators.optional
            yield from describe_limits(one.validator)


def describe_default(default: Any, hint: Any) -> Schema:
    if default is attrs.NOTHING or default is None or getattr(default, "takes_self", False):
        return {}
    value = default.factory() if hasattr(default, "factory") else default
    if any(list_parts_of_type(value, hint, "")):  # their names depend on what is installed
        return {}
    plain = unstructure_value(value, {}, "")
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):  # infinity, which JSON has not
        return {}
    return {"default": list(plain) if isinstance(plain, tuple) else plain}
