"""Augmentations of training tiles: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

AUGMENTATIONS = {
    "canopy_mix": "forestgaps_augmentations.canopy_mix:CanopyMix",
    "canopy_stretch": "forestgaps_augmentations.canopy_stretch:CanopyStretch",
    "flip_rotate": "forestgaps_augmentations.flip_rotate:FlipRotate",
    "hills": "forestgaps_augmentations.hills:Hills",
    "sometimes": "forestgaps_augmentations.sometimes:Sometimes",
    "tilt": "forestgaps_augmentations.tilt:Tilt",
}


@hookimpl
def forestgaps_augmentations() -> Mapping[str, str]:
    return AUGMENTATIONS


__getattr__, __dir__ = lazy_exports(__name__, AUGMENTATIONS.values())
