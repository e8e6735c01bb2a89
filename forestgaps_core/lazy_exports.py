"""Import the names of a package on first use, so that importing the package is fast.

LOSSES = {"focal": "forestgaps_losses.focal:Focal"}  # the table of the hook

__getattr__, __dir__ = lazy_exports(__name__, LOSSES.values())
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any


def lazy_exports(package: str, targets: Iterable[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: `__name__` of the package.
        targets: What the package exports, such as `forestgaps_losses.focal:Focal`.
    """
    modules = {name: module for module, _, name in (target.partition(":") for target in targets)}

    def get_attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # further uses do not come here
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get_attribute, list_names
