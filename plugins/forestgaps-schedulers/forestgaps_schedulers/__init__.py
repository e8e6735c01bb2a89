"""Learning-rate schedules: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forestgaps_core import hookimpl

_SCHEDULERS = {
    "constant": "forestgaps_schedulers.constant:Constant",
    "cosine": "forestgaps_schedulers.cosine:Cosine",
    "cosine_restarts": "forestgaps_schedulers.cosine_restarts:CosineRestarts",
    "cyclic": "forestgaps_schedulers.cyclic:Cyclic",
    "exponential": "forestgaps_schedulers.exponential:Exponential",
    "inverse_square_root": "forestgaps_schedulers.inverse_square_root:InverseSquareRoot",
    "multistep": "forestgaps_schedulers.multistep:MultiStep",
    "one_cycle": "forestgaps_schedulers.one_cycle:OneCycle",
    "plateau": "forestgaps_schedulers.plateau:Plateau",
    "polynomial": "forestgaps_schedulers.polynomial:Polynomial",
    "step": "forestgaps_schedulers.step:Step",
    "warmup_cosine": "forestgaps_schedulers.warmup_cosine:WarmupCosine",
}

_PUBLIC = {name: module for module, name in (target.split(":") for target in _SCHEDULERS.values())}


@hookimpl
def forestgaps_schedulers() -> Mapping[str, str]:
    return _SCHEDULERS


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
