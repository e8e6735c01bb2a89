"""What a plugin must be like to be loaded, and a row of its tables to be listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType

import pluggy

from forestgaps_core import __version__
from forestgaps_core.errors import nearest
from forestgaps_core.hookspecs import PluginHooks
from forestgaps_core.offers import normalized

CORE = "forestgaps-core"
NAME = re.compile(r"[a-z][a-z0-9_]*")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def unmet_requirement(requires: Sequence[str]) -> str:
    """A sentence if the plugin asks for another core than this one, else ''."""
    mine = [text for text in requires if normalized(re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]) == CORE]
    if not mine:
        return ""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in mine:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            return f"its requirement {text!r} cannot be read: {error}"
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(__version__, prereleases=True):
            return f"needs {CORE} {requirement.specifier}, this is {__version__}; update one of the two"
    return ""


def misspelt_hooks(manager: pluggy.PluginManager, module: ModuleType) -> str:
    """A sentence about hooks that pluggy would never call, or ''."""
    known = [name for name in dir(PluginHooks) if name.startswith("forestgaps_")]
    for name in dir(module):
        marked = manager.parse_hookimpl_opts(module, name) is not None
        if marked and name not in known:
            return f"implements {name!r}, which is no hook{nearest(name, known)}; there is: {', '.join(known)}"
        if not marked and name in known and callable(getattr(module, name)):
            return f"has a function {name!r} without @hookimpl, so it would never be called"
    return ""


def malformed(name: object, target: object) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "a name is lower case letters, digits and underscores"
    if isinstance(target, type) or (isinstance(target, str) and TARGET.fullmatch(target)):
        return ""
    return f"the target {target!r} is not 'package.module:ConfigClass'"
