"""What all schedules share: a warm-up in front, a shape after it, and a stop at the end of the run.

A shape is a pure function of the steps completed since the warm-up, from 0 to `length`, the steps that are left for it.
So a schedule is two segments, and neither has to know of the other. At `length` a shape is at its end, and there it stays:
the run's last step, number total - 1, is taken just before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, ge

from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.spans import count_steps, validate_span

Shape = Callable[[int], float]


def warmup_field(default: float = 0.0) -> Any:
    """The field `warmup` of every schedule."""
    return field(
        default=default,
        validator=and_(ge(0), validate_span),
        metadata={
            "help": "Rise from near 0 to the schedule's first factor over so much of the run: below 1 a share of all steps, "
            "from 1 on a number of steps."
        },
    )


def count_warmup_steps(warmup: float, total: int) -> int:
    """The steps of a warm-up in a run of `total`; at least one step is left after it.

    Raises:
        ConfigError: A number of steps that fills the run.
    """
    rise = count_steps(warmup, total)
    if warmup >= 1 and rise >= total:
        raise ConfigError(f"scheduler.warmup: found {rise} steps, expected fewer than the run's {total}, or a share below 1")
    return min(rise, total - 1)


def ramp(step: int, rise: int) -> float:
    """The warm-up: from 1 / (rise + 1) at step 0, in equal parts, to 1 at step `rise` and after.

    It starts above 0 because a step at rate 0 moves nothing, and yet feeds the optimizer's running means.

    Source: "gradual warmup" of Goyal et al. 2017, section 2.2, arXiv:1706.02677
    """
    return min((step + 1) / (rise + 1), 1.0)


@frozen
class Schedule:
    """A factor that rises for `rise` steps to where `shape` begins, follows it, and stays at its end.

    Attributes:
        shape: The factor after so many steps since the warm-up.
        rise: Steps of the warm-up.
        total: Steps of the run.
    """

    shape: Shape
    rise: int
    total: int

    def place(self, step: int) -> int:
        """Steps completed since the warm-up, within the run."""
        return max(min(step, self.total) - self.rise, 0)

    def __call__(self, step: int) -> float:
        return ramp(step, self.rise) * self.shape(self.place(step))


@frozen
class ScheduleWithMomentum(Schedule):
    """A schedule that sets the optimizer's momentum, or first beta, as well."""

    momentum_shape: Shape

    def momentum(self, step: int) -> float:
        """Not a factor but the momentum itself; while the rate warms up it waits at its first value."""
        return self.momentum_shape(self.place(step))
