"""Polynomial decay."""

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
    """A power of the remaining fraction of the run, down to `floor`; linear with `power = 1`.

    Formula: f(t) = floor + (1 - floor) (1 - t / T)^power, where t of the T steps after the warm-up are completed.

    Source: Chen et al. 2018, section 4.1.2 ("poly", power 0.9), arXiv:1606.00915
    """

    warmup: float = warmup_field()
    power: float = field(
        default=0.9,
        validator=and_(gt(0), le(100)),
        metadata={"help": "Exponent, above 0, at most 100: 1 is linear; a larger exponent decreases the rate earlier."},
    )
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor on the base rate at the end of the run."}
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        shape = partial(polynomial, length=total_steps - warmup_steps, power=self.power, floor=self.floor)
        return Schedule(shape, warmup_steps, total_steps)
