"""Optimizers: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

OPTIMIZERS = {
    "adafactor": "forestgaps_optimizers.adafactor:Adafactor",
    "adam": "forestgaps_optimizers.adam:Adam",
    "adamw": "forestgaps_optimizers.adamw:AdamW",
    "lion": "forestgaps_optimizers.lion:Lion",
    "muon": "forestgaps_optimizers.muon:Muon",
    "nadam": "forestgaps_optimizers.nadam:NAdam",
    "radam": "forestgaps_optimizers.radam:RAdam",
    "sgd": "forestgaps_optimizers.sgd:SGD",
}


@hookimpl
def forestgaps_optimizers() -> Mapping[str, str]:
    return OPTIMIZERS


__getattr__, __dir__ = lazy_exports(
    __name__,
    [
        *OPTIMIZERS.values(),
        "forestgaps_optimizers.groups:GroupSettings",
        "forestgaps_optimizers.groups:can_fuse",
        "forestgaps_optimizers.groups:parameter_groups",
    ],
)
