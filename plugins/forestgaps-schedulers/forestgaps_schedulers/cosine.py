"""Half a cosine down."""

from __future__ import annotations

import math
from functools import partial

from attrs import field, frozen
from attrs.validators import and_, ge, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def cosine(step: int, *, length: int, floor: float) -> float:
    """From 1 at step 0 to `floor` at step `length`, slow at both ends."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * step / length)) / 2


@frozen(kw_only=True)
class Cosine:
    """Half a cosine from the base rate down to `floor` at the end of the run, where it stays.

    Formula: f(t) = floor + (1 - floor) (1 + cos(pi t / T)) / 2, with t of the T steps after the warm-up completed.

    Source: Loshchilov & Hutter 2017, eq. 5 without restarts, arXiv:1608.03983
    """

    warmup: float = warmup_field()
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor at the end of the run, a share of the base rate."}
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(cosine, length=total_steps - rise, floor=self.floor), rise, total_steps)
