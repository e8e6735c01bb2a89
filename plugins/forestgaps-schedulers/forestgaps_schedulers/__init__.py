"""Learning-rate schedules: the table of names."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

SCHEDULERS = {
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
    "warmup": "forestgaps_schedulers.warmup:Warmup",
    "warmup_cosine": "forestgaps_schedulers.warmup_cosine:WarmupCosine",
}


@hookimpl
def forestgaps_schedulers() -> Mapping[str, str]:
    return SCHEDULERS


__getattr__, __dir__ = lazy_exports(__name__, SCHEDULERS.values())
