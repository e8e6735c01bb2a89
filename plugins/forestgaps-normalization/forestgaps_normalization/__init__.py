"""Normalization layers: the table of names."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

NORMALIZATIONS = {
    "adaptive": "forestgaps_normalization.adaptive:Adaptive",
    "batch": "forestgaps_normalization.batch:BatchNormConfig",
    "blended": "forestgaps_normalization.blended:BlendedNormConfig",
    "group": "forestgaps_normalization.group:GroupNormConfig",
    "instance": "forestgaps_normalization.instance:InstanceNormConfig",
    "layer": "forestgaps_normalization.layer:LayerNormConfig",
    "sync_batch": "forestgaps_normalization.sync_batch:SyncBatchNormConfig",
}


@hookimpl
def forestgaps_normalizations() -> Mapping[str, str]:
    return NORMALIZATIONS


__getattr__, __dir__ = lazy_exports(__name__, [*NORMALIZATIONS.values(), "forestgaps_normalization.convert:convert_normalization"])
