"""Cosine annealing."""

from __future__ import annotations

import math
from functools import partial

from attrs import field, frozen
from attrs.validators import and_, ge, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def cosine(step: int, *, length: int, floor: float) -> float:
    """Return the factor: 1 at step 0, `floor` at step `length`, half a cosine between."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * step / length)) / 2


@frozen(kw_only=True)
class Cosine:
    """Half a cosine from the base rate to `floor` at the end of the run.

    Formula: f(t) = floor + (1 - floor) (1 + cos(pi t / T)) / 2, where t of the T steps after the warm-up are completed.

    Source: Loshchilov & Hutter 2017, eq. 5 without restarts, arXiv:1608.03983
    """

    warmup: float = warmup_field()
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor on the base rate at the end of the run."}
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(cosine, length=total_steps - warmup_steps, floor=self.floor), warmup_steps, total_steps)
