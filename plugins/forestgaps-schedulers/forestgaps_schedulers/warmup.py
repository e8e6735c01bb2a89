"""A warm-up in front of any schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from attrs.validators import and_, gt

from forestgaps_core import Component, Scheduler
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.schedule import compute_warmup, count_warmup_steps
from forestgaps_schedulers.spans import validate_span


@define(eq=False)
class WarmedSchedule:
    """The factor of a schedule, reduced in the first steps.

    Attributes:
        schedule: With its momentum and its state, if it has them.
        warmup_steps: Number of steps of the warm-up.
    """

    schedule: Scheduler
    warmup_steps: int

    def __call__(self, step: int) -> float:
        return compute_warmup(step, self.warmup_steps) * self.schedule(step)

    def __getattr__(self, name: str) -> Any:
        if name not in ("momentum", "observe", "state_dict", "load_state_dict"):
            raise AttributeError(name)
        return getattr(self.schedule, name)


@frozen(kw_only=True)
class Warmup:
    """A linear warm-up in front of any schedule: its factor times (s + 1) / (r + 1) in the first r steps.

    The schedule runs over the whole run, the warm-up included.

    Source: "gradual warmup" of Goyal et al. 2017, section 2.2, arXiv:1706.02677
    """

    schedule: Component["scheduler"] = field(  # noqa: F821, UP037
        factory=Cosine, metadata={"help": "A schedule of any package, a table with its `name` and its own settings."}
    )
    steps: float = field(
        default=0.05,
        validator=and_(gt(0), validate_span),
        metadata={"help": "Length of the warm-up: below 1 a share of all steps, from 1 on a number of steps."},
    )

    def build(self, total_steps: int, build_inner: Callable[[Any], Scheduler]) -> Scheduler:
        return WarmedSchedule(build_inner(self.schedule), count_warmup_steps(self.steps, total_steps))
