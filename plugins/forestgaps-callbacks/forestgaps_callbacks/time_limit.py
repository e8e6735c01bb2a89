"""Stop training after a given time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import gt

from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class TimeLimitConfig:
    """Stops training after a wall-clock time and saves the state, so that the run can be resumed.

    Choose less than the time limit of a queue, so that the last validation and the checkpoint fit. With `whole_run` the minutes of
    all sessions count, and the run then ends permanently.
    """

    minutes: float = field(validator=gt(0), metadata={"help": "Wall-clock time from the start of training, minutes."})
    whole_run: bool = field(
        default=False, metadata={"help": "Count the minutes before a resume too, and end permanently when they are used up."}
    )

    def build(self) -> TimeLimit:
        return TimeLimit(minutes=self.minutes, whole_run=self.whole_run)


@define(eq=False)
class TimeLimit:
    minutes: float
    whole_run: bool = False
    before: float = field(default=0.0, init=False)  # seconds of the sessions before this one
    started_at: float | None = field(default=None, init=False)  # seconds

    @hookimpl
    def fit_start(self) -> None:
        self.started_at = time.monotonic()

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        self.look(trainer)

    @hookimpl
    def epoch_end(self, trainer: Trainer) -> None:
        self.look(trainer)

    def look(self, trainer: Trainer) -> None:
        if trainer.stopped is None and self.spent() >= 60 * self.minutes:
            trainer.stop(f"the time limit of {self.minutes:g} min is used up", final=self.whole_run)

    def spent(self) -> float:
        return (self.before if self.whole_run else 0.0) + (0.0 if self.started_at is None else time.monotonic() - self.started_at)

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.spent()} if self.whole_run else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.before = state.get("before", 0.0)
