"""Augmentations of training tiles: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forestgaps_core import hookimpl

_AUGMENTATIONS = {
    "canopy_mix": "forestgaps_augmentations.canopy_mix:CanopyMix",
    "canopy_stretch": "forestgaps_augmentations.canopy_stretch:CanopyStretch",
    "flip_rotate": "forestgaps_augmentations.flip_rotate:FlipRotate",
    "hills": "forestgaps_augmentations.hills:Hills",
    "tilt": "forestgaps_augmentations.tilt:Tilt",
}

_PUBLIC = {name: module for module, name in (target.split(":") for target in _AUGMENTATIONS.values())}


@hookimpl
def forestgaps_augmentations() -> Mapping[str, str]:
    return _AUGMENTATIONS


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
