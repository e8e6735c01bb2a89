"""Down by the same share at every step."""

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
    """The same share of the rate lost at every step, so that it ends at `floor` however long the run.

    Formula: f(t) = floor^(t / T), with t of the T steps after the warm-up completed; a decay of gamma = floor^(1/T) a step.

    Source: the geometric decay of Ge et al. 2019, arXiv:1904.12838, in stairs of one step
    """

    warmup: float = warmup_field()
    floor: float = field(
        default=0.01,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Factor at the end of the run, a share of the base rate, over 0."},
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(exponential, length=total_steps - rise, floor=self.floor), rise, total_steps)
