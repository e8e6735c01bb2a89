"""Decay with the inverse square root of the step."""

from __future__ import annotations

import math
from functools import partial

from attrs import field, frozen
from attrs.validators import and_, gt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field
from forestgaps_schedulers.spans import count_steps, validate_span


def inverse_square_root(step: int, *, timescale: int) -> float:
    return math.sqrt(timescale / (timescale + step))


@frozen(kw_only=True)
class InverseSquareRoot:
    """Decay with the inverse square root of the step. The shape does not depend on the length of the run.

    With a warm-up of w - 1 steps and a timescale of w steps, it is the schedule of the Transformer divided by its maximum.

    Formula: f(t) = sqrt(k / (k + t)), with t completed steps since the warm-up and the timescale k.

    Source: Vaswani et al. 2017, eq. 3, arXiv:1706.03762
    """

    warmup: float = warmup_field(0.05)
    timescale: float = field(
        default=0.05,
        validator=and_(gt(0), validate_span),
        metadata={
            "help": "A third of the steps to half the rate: a fraction of all steps if below 1, otherwise a number of steps."
        },
    )

    def build(self, total_steps: int) -> Scheduler:
        timescale = max(count_steps(self.timescale, total_steps), 1)
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(inverse_square_root, timescale=timescale), warmup_steps, total_steps)
