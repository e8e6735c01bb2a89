"""Down along a power of what is left of the run."""

from __future__ import annotations

from functools import partial

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def polynomial(step: int, *, length: int, power: float, floor: float) -> float:
    return floor + (1 - floor) * float((1 - step / length) ** power)


@frozen(kw_only=True)
class Polynomial:
    """A power of the part of the run that is left, down to `floor`; a straight line with `power = 1`.

    Formula: f(t) = floor + (1 - floor) (1 - t / T)^power, with t of the T steps after the warm-up completed.

    Source: Chen et al. 2018, section 4.1.2 ("poly", power 0.9), arXiv:1606.00915
    """

    warmup: float = warmup_field()
    power: float = field(
        default=0.9,
        validator=and_(gt(0), le(100)),
        metadata={"help": "Exponent, over 0 to 100: 1 a straight line, above it fast at first, below it fast at last."},
    )
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor at the end of the run, a share of the base rate."}
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        shape = partial(polynomial, length=total_steps - rise, power=self.power, floor=self.floor)
        return Schedule(shape, rise, total_steps)
