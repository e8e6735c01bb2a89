"""One cycle of the rate, with the momentum in the opposite direction."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.schedule import Schedule, ScheduleWithMomentum, count_warmup_steps, warmup_field
from forestgaps_schedulers.spans import count_steps, validate_span

Curve = Literal["cosine", "linear"]


def interpolate(step: int, *, joints: Sequence[int], values: Sequence[float], curve: Curve) -> float:
    """Return the value at a step of the curve through `values` at the steps `joints`; constant after the last joint.

    Args:
        joints: Steps in ascending order, the first is 0. Two may be equal.
    """
    phase = bisect_right(joints, step) - 1
    if phase == len(joints) - 1:
        return values[-1]
    fraction = (step - joints[phase]) / (joints[phase + 1] - joints[phase])
    if curve == "cosine":
        fraction = (1 - math.cos(math.pi * fraction)) / 2
    return values[phase] + (values[phase + 1] - values[phase]) * fraction


@frozen(kw_only=True)
class OneCycle:
    """Increase from `start` to the base rate, which is the maximum, and decrease to `floor`.

    With a `tail` there are three phases: the decrease ends at `start`, and the tail continues to `floor`. The momentum (first
    beta of Adam) changes in the opposite direction: from `momentum_high` to `momentum_low` at the peak of the rate, and back.

    Formula: f is start at step 0, 1 at `rise` and floor at T, the number of steps after the warm-up; with a tail, it is start at
    T - tail. Between these points it is interpolated with (1 - cos(pi u)) / 2 or u, where u is the completed fraction of the phase.

    Source: Smith & Topin 2018, arXiv:1708.07120; the momentum from Smith 2018, section 4.3, arXiv:1803.09820
    """

    warmup: float = warmup_field()
    rise: float = field(
        default=0.3,
        validator=and_(ge(0), validate_span),
        metadata={"help": "Length of the increase: a fraction of all steps if below 1, otherwise a number of steps."},
    )
    tail: float = field(
        default=0.0,
        validator=and_(ge(0), validate_span),
        metadata={"help": "Length of the phase from `start` to `floor`: a fraction of all steps if below 1, otherwise steps."},
    )
    start: float = field(default=0.04, validator=and_(ge(0), le(1)), metadata={"help": "Factor on the base rate at the start."})
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor on the base rate at the end of the run."}
    )
    curve: Curve = field(default="cosine", metadata={"help": "Interpolation of each phase: half a cosine or linear."})
    cycle_momentum: bool = field(default=True, metadata={"help": "Whether to change the momentum, or first beta, as well."})
    momentum_low: float = field(
        default=0.85, validator=and_(ge(0), lt(1)), metadata={"help": "Momentum at the peak of the rate, 0 to below 1."}
    )
    momentum_high: float = field(
        default=0.95, validator=and_(gt(0), lt(1)), metadata={"help": "Momentum at the start and the end, between 0 and 1."}
    )

    def __attrs_post_init__(self) -> None:
        if self.momentum_low > self.momentum_high:
            raise ValueError(f"momentum_low {self.momentum_low} is above momentum_high {self.momentum_high}")

    def build(self, total_steps: int) -> Scheduler:
        used = sum(span if span >= 1 else span * total_steps for span in (self.warmup, self.rise, self.tail))
        if used >= total_steps:
            raise ConfigError(
                f"scheduler: warmup, rise and tail take {used:g} of the run's {total_steps} steps, so no step remains for the "
                "decrease. Reduce one of them"
            )
        warmup = count_warmup_steps(self.warmup, total_steps)
        length = total_steps - warmup
        peak = min(count_steps(self.rise, total_steps), length - 1)  # rounding must leave one step for the decrease
        tail = min(count_steps(self.tail, total_steps), length - 1 - peak)
        last = [length - tail, length] if tail else [length]
        joints = [0, peak, *last]
        values = [self.start, 1.0, self.start, self.floor] if tail else [self.start, 1.0, self.floor]
        momenta = [self.momentum_high, self.momentum_low, *[self.momentum_high for _ in last]]
        rate = partial(interpolate, joints=joints, values=values, curve=self.curve)
        if not self.cycle_momentum:
            return Schedule(rate, warmup, total_steps)
        momentum = partial(interpolate, joints=joints, values=momenta, curve=self.curve)
        return ScheduleWithMomentum(rate, warmup, total_steps, momentum)
