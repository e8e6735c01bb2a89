"""The common parts of all schedules: a warm-up, then a shape until the end of the run.

A shape is a pure function of the number of steps since the warm-up, from 0 to `length`. It does not depend on the warm-up.
From `length` on, it is constant. The last step of the run, number total - 1, is the step before `length`.
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
    """Return the field `warmup` of a schedule."""
    return field(
        default=default,
        validator=and_(ge(0), validate_span),
        metadata={
            "help": "Length of the linear warm-up from near 0 to the first factor of the schedule: a fraction of all steps if "
            "below 1, otherwise a number of steps."
        },
    )


def count_warmup_steps(warmup: float, total: int) -> int:
    """Return the number of warm-up steps in a run of `total` steps; at least one step remains after the warm-up.

    Raises:
        ConfigError: The number of steps is not smaller than `total`.
    """
    warmup_steps = count_steps(warmup, total)
    if warmup >= 1 and warmup_steps >= total:
        raise ConfigError(
            f"scheduler.warmup: found {warmup_steps} steps, expected fewer than the run's {total}, or a fraction below 1"
        )
    return min(warmup_steps, total - 1)


def compute_warmup(step: int, warmup_steps: int) -> float:
    """Return the factor of the linear warm-up: 1 / (warmup_steps + 1) at step 0, and 1 from step `warmup_steps` on.

    It starts above 0, because a step at rate 0 changes no weight but updates the running means of the optimizer.

    Source: "gradual warmup" of Goyal et al. 2017, section 2.2, arXiv:1706.02677
    """
    return min((step + 1) / (warmup_steps + 1), 1.0)


@frozen
class Schedule:
    """A factor on the learning rate: a linear warm-up, then `shape`, constant after the end of the run.

    Attributes:
        shape: The factor as a function of the number of steps since the warm-up.
        warmup_steps: Number of steps of the warm-up.
        total: Number of steps of the run.
    """

    shape: Shape
    warmup_steps: int
    total: int

    def count_steps_since_warmup(self, step: int) -> int:
        """Return the number of steps completed since the warm-up, limited to the run."""
        return max(min(step, self.total) - self.warmup_steps, 0)

    def __call__(self, step: int) -> float:
        return compute_warmup(step, self.warmup_steps) * self.shape(self.count_steps_since_warmup(step))


@frozen
class ScheduleWithMomentum(Schedule):
    """A schedule that also sets the momentum, or first beta, of the optimizer."""

    momentum_shape: Shape

    def momentum(self, step: int) -> float:
        """Return the momentum itself, not a factor; during the warm-up it has its first value."""
        return self.momentum_shape(self.count_steps_since_warmup(step))
