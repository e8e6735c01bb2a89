"""Normalization layers: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forestgaps_core import hookimpl

_NORMALIZATIONS = {
    "adaptive": "forestgaps_normalization.adaptive:Adaptive",
    "batch": "forestgaps_normalization.batch:BatchNormConfig",
    "blended": "forestgaps_normalization.blended:BlendedNormConfig",
    "group": "forestgaps_normalization.group:GroupNormConfig",
    "instance": "forestgaps_normalization.instance:InstanceNormConfig",
    "layer": "forestgaps_normalization.layer:LayerNormConfig",
    "sync_batch": "forestgaps_normalization.sync_batch:SyncBatchNormConfig",
}

_PUBLIC = {
    "convert_normalization": "forestgaps_normalization.convert",
    **{name: module for module, name in (target.split(":") for target in _NORMALIZATIONS.values())},
}


@hookimpl
def forestgaps_normalizations() -> Mapping[str, str]:
    return _NORMALIZATIONS


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
