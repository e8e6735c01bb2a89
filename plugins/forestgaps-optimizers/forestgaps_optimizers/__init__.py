"""Optimizers: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forestgaps_core import hookimpl

_OPTIMIZERS = {
    "adam": "forestgaps_optimizers.adam:Adam",
    "adamw": "forestgaps_optimizers.adamw:AdamW",
    "sgd": "forestgaps_optimizers.sgd:SGD",
}

_PUBLIC = {
    **{name: module for module, name in (target.split(":") for target in _OPTIMIZERS.values())},
    "can_fuse": "forestgaps_optimizers.groups",
    "parameter_groups": "forestgaps_optimizers.groups",
}


@hookimpl
def forestgaps_optimizers() -> Mapping[str, str]:
    return _OPTIMIZERS


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
