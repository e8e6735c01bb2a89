"""What a plugin must be like to be loaded, and a row of its tables to be listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from operator import ge, gt, le, lt
from types import FunctionType, ModuleType
from typing import Any

import attrs
import pluggy

from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.hookspecs import PluginHooks, hookimpl
from forestgaps_core.kinds import NAME, Renamed
from forestgaps_core.plugins.names import normalize_name
from forestgaps_core.version import __version__

CORE = "forestgaps-core"
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def explain_unmet_requirement(requires: Sequence[str]) -> str:
    """A sentence if the plugin asks for another core than this one, else ''."""
    mine = [text for text in requires if normalize_name(re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]) == CORE]
    if not mine:
        return ""
    for text in mine:
        if meets_plain_requirement(text, __version__):
            continue
        from packaging.requirements import InvalidRequirement, Requirement  # a tenth of the start-up, so only for what is not plain

        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            return f"its requirement {text!r} cannot be read: {error}"
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(__version__, prereleases=True):
            return f"needs {CORE} {requirement.specifier}, this is {__version__}; update one of the two"
    return ""


def meets_plain_requirement(requirement: str, version: str) -> bool:
    """Whether a requirement has only plain bounds, such as `forestgaps-core>=0.1,<0.2`, and the version is within them.

    False does not mean that the requirement is unmet: `packaging` decides about markers, URLs, other operators and pre-releases.
    """
    name_end = next((place for place, sign in enumerate(requirement) if sign in "<>"), len(requirement))
    if not all(sign.isalnum() or sign in "-_.[,]" for sign in requirement[:name_end].strip()):  # as in URLs and markers
        return False
    mine = parse_plain_release(version)
    for bound in requirement[name_end:].split(","):
        operator = bound.strip()[: 2 if "=" in bound else 1]
        release = parse_plain_release(bound.strip()[len(operator) :].strip())
        if mine is None or release is None or operator not in COMPARE or not COMPARE[operator](mine, release):
            return False
    return True


def parse_plain_release(text: str) -> list[int] | None:
    """Return the numbers of a version such as `0.1.0` without zeros at the end; None for a version with anything else."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


COMPARE = {">=": ge, "<=": le, ">": gt, "<": lt}


class HookManager(pluggy.PluginManager):
    """A manager that looks for hooks only among what can be called: pluggy examines every name of a module, and twice."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, ModuleType):
            value = vars(plugin).get(name)
            if not callable(value) or isinstance(value, type):
                return None
        return super().parse_hookimpl_opts(plugin, name)


def turn_tables_into_hooks(module: Any) -> Any:
    """Return a module whose hooks are all functions: a plain table `forestgaps_losses = {...}` becomes one that returns it."""
    if not isinstance(module, ModuleType):
        return module
    tables = {name: value for name, value in vars(module).items() if name.startswith("forestgaps_") and isinstance(value, Mapping)}
    if not tables:
        return module
    hooks = ModuleType(module.__name__)
    vars(hooks).update(vars(module))
    for name, table in tables.items():
        if name in vars(PluginHooks) and len(signature(getattr(PluginHooks, name)).parameters) > 1:
            raise PluginError(f"has a table {name!r}; this hook is a function")
        setattr(hooks, name, make_hook(table))
    return hooks


def make_hook(table: Mapping[Any, Any]) -> Callable[[], Mapping[Any, Any]]:
    @hookimpl
    def offer() -> Mapping[Any, Any]:
        return table

    return offer


def find_misspelt_hooks(manager: pluggy.PluginManager, module: ModuleType) -> str:
    """A sentence about all hooks that pluggy would never call, or ''."""
    known = [name for name in dir(PluginHooks) if name.startswith("forestgaps_")]
    marked = {name for name in dir(module) if manager.parse_hookimpl_opts(module, name) is not None}
    unknown = sorted(marked - {*known})
    unmarked = [name for name in dir(module) if name in known and name not in marked and callable(getattr(module, name))]
    sentences = []
    if unknown:
        first = f"implements {unknown[0]!r}, which is not a hook{nearest(unknown[0], known)}"
        more = "".join(f", nor is {name!r}{nearest(name, known)}" for name in unknown[1:])
        sentences.append(first + more if more or nearest(unknown[0], known) else f"{first}; there is: {', '.join(known)}")
    if unmarked:
        names, they = " and ".join(map(repr, unmarked)), "it" if len(unmarked) == 1 else "they"
        what = f"a function {names}" if len(unmarked) == 1 else f"functions {names}"
        sentences.append(f"has {what} without @hookimpl, so {they} would never be called")
    return "; ".join(sentences)


def explain_malformed_row(name: object, target: object) -> str:
    """A sentence if this cannot be a row of a table of components, else ''. Names the row."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"{represent_value(name)}: a name is lower case letters, digits and underscores"
    if isinstance(target, Renamed):
        wrong = not isinstance(target.name, str) or not NAME.fullmatch(target.name) or not isinstance(target.since, str)
        return f"{name!r}: found {represent_value(target)}, expected Renamed(NAME, since=VERSION)" if wrong else ""
    if isinstance(target, type | FunctionType) or (isinstance(target, str) and TARGET.fullmatch(target)):
        return ""
    return f"{name!r}: the target {represent_value(target)} is not 'package.module:NAME' of a class or function"


def explain_malformed_record(name: object, record: object, expected: type, spelling: re.Pattern[str]) -> str:
    """A sentence if this cannot be a row of a table of records, else ''. Names the row.

    Args:
        expected: Type of the records; its attributes are texts.
        spelling: Of the names.
    """
    if not isinstance(name, str) or not spelling.fullmatch(name) or not isinstance(record, expected):
        return f"{represent_value(name)}: not a {expected.__name__} under a name in lower case"
    fields = [field.name for field in attrs.fields(expected)] if attrs.has(expected) else []
    if wrong := [field for field in fields if not isinstance(getattr(record, field, None), str)]:
        return f"{name!r}: its {wrong[0]} is {represent_value(getattr(record, wrong[0], None))}, expected a text"
    target = record if isinstance(record, str) else getattr(record, "target", "")
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[^:]+", target):
        return f"{name!r}: the target {represent_value(target)} is not 'package.module:' and a name in it"
    return ""


def represent_value(value: object) -> str:
    """Return what shows a value of a plugin's in a message, at most 100 characters; its own code may fail."""
    try:
        text = repr(value)
    except Exception:
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."
