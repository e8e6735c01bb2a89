"""Exponential decay."""

from __future__ import annotations

from functools import partial

from attrs import field, frozen
from attrs.validators import and_, gt, le

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def exponential(step: int, *, length: int, floor: float) -> float:
    return float(floor ** (step / length))


@frozen(kw_only=True)
class Exponential:
    """Exponential decay to `floor` at the end of the run, for any length of the run.

    Formula: f(t) = floor^(t / T), where t of the T steps after the warm-up are completed; gamma = floor^(1/T) per step.

    Source: the geometric decay of Ge et al. 2019, arXiv:1904.12838, at every step
    """

    warmup: float = warmup_field()
    floor: float = field(
        default=0.01,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Factor on the base rate at the end of the run, above 0."},
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(exponential, length=total_steps - warmup_steps, floor=self.floor), warmup_steps, total_steps)
