"""Cosine annealing with restarts."""

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
    """Return the first step of each cycle, and `length`.

    The length of cycle i is proportional to growth^i, so the sum of the lengths is a geometric series.
    """
    if growth == 1:
        return tuple(round(length * i / cycles) for i in range(cycles + 1))
    return tuple(round(length * (growth**i - 1) / (growth**cycles - 1)) for i in range(cycles + 1))


def cosine_restarts(step: int, *, joints: Sequence[int], floor: float) -> float:
    if step >= joints[-1]:
        return floor
    cycle = bisect_right(joints, step) - 1  # the last of several joints on one step, so the cycle is not empty
    return cosine(step - joints[cycle], length=joints[cycle + 1] - joints[cycle], floor=floor)


@frozen(kw_only=True)
class CosineRestarts:
    """Half cosines from the base rate to `floor`, each `growth` times as long as the previous one; they fill the run exactly.

    Restarts are rounded to whole steps. If the run is too short for the cycles, the first ones have no step.

    Formula: f(t) = floor + (1 - floor) (1 + cos(pi t_i / T_i)) / 2, where t_i of the T_i steps of cycle i are completed
    and T_i = growth T_(i-1).

    Source: Loshchilov & Hutter 2017, eq. 5, arXiv:1608.03983 (growth is T_mult)
    """

    warmup: float = warmup_field()
    cycles: int = field(default=3, validator=and_(ge(1), le(100)), metadata={"help": "Number of cycles in the run, 1 to 100."})
    growth: float = field(
        default=2.0, validator=and_(ge(1), le(10)), metadata={"help": "Factor from the length of a cycle to the next, 1 to 10."}
    )
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor on the base rate at the end of each cycle."}
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        joints = place_restarts(total_steps - warmup_steps, cycles=self.cycles, growth=self.growth)
        return Schedule(partial(cosine_restarts, joints=joints, floor=self.floor), warmup_steps, total_steps)
