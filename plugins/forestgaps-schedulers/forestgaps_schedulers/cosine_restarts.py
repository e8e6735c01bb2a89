"""Half cosines down, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from attrs import field, frozen
from attrs.validators import and_, ge, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.cosine import cosine
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def place_restarts(length: int, *, cycles: int, growth: float) -> tuple[int, ...]:
    """Where each of the cycles begins, and the last one ends: whole steps from 0 to `length`.

    Cycle i has a length in proportion to growth^i; its sum from 0 is a geometric series.
    """
    if growth == 1:
        return tuple(round(length * i / cycles) for i in range(cycles + 1))
    return tuple(round(length * (growth**i - 1) / (growth**cycles - 1)) for i in range(cycles + 1))


def cosine_restarts(step: int, *, joints: Sequence[int], floor: float) -> float:
    if step >= joints[-1]:
        return floor
    begins = bisect_right(joints, step) - 1  # the last of several joints on one step, so no cycle has length 0
    return cosine(step - joints[begins], length=joints[begins + 1] - joints[begins], floor=floor)


@frozen(kw_only=True)
class CosineRestarts:
    """Half cosines from the base rate down to `floor`, each `growth` times as long as the one before, that fill the run exactly.

    Restarts are rounded to whole steps. In a run too short for so many cycles the first ones have no step.

    Formula: f(t) = floor + (1 - floor) (1 + cos(pi t_i / T_i)) / 2, with t_i of the T_i steps of cycle i completed
    and T_i = growth T_(i-1).

    Source: Loshchilov & Hutter 2017, eq. 5, arXiv:1608.03983 (growth is T_mult)
    """

    warmup: float = warmup_field()
    cycles: int = field(default=3, validator=and_(ge(1), le(100)), metadata={"help": "Cosines in the run, 1 to 100."})
    growth: float = field(
        default=2.0, validator=and_(ge(1), le(10)), metadata={"help": "Length of a cycle over that of the one before, 1 to 10."}
    )
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor at the end of each cycle, a share of the base rate."}
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        joints = place_restarts(total_steps - rise, cycles=self.cycles, growth=self.growth)
        return Schedule(partial(cosine_restarts, joints=joints, floor=self.floor), rise, total_steps)
