"""Down with the square root of the time."""

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
    """The base rate over the square root of the time since the warm-up; where it is does not depend on when the run ends.

    With a warm-up of w - 1 steps and a timescale of w it is the schedule of the Transformer, over its peak.

    Formula: f(t) = sqrt(k / (k + t)), with t steps completed since the warm-up and k the timescale.

    Source: Vaswani et al. 2017, eq. 3, arXiv:1706.03762
    """

    warmup: float = warmup_field(0.05)
    timescale: float = field(
        default=0.05,
        validator=and_(gt(0), validate_span),
        metadata={
            "help": "After three times this the rate is at half: below 1 a share of all steps (at least one step), from 1 on a "
            "number of steps."
        },
    )

    def build(self, total_steps: int) -> Scheduler:
        timescale = max(count_steps(self.timescale, total_steps), 1)
        rise = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(inverse_square_root, timescale=timescale), rise, total_steps)
