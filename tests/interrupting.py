"""A callback that stops a run as a signal would, as a user's own file."""

from __future__ import annotations

from attrs import define, field, frozen

from forestgaps_core import hookimpl


@define(eq=False)
class Interrupt:
    at: int
    every: int

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == self.at or (self.every and trainer.step % self.every == 0):
            trainer.stop("interrupted by the test", final=False)


@frozen(kw_only=True)
class InterruptConfig:
    """Stops a run so that it can be resumed."""

    at: int = field(default=-1, metadata={"help": "After this step."})
    every: int = field(default=0, metadata={"help": "After each so many steps; 0: not."})

    def build(self):
        return Interrupt(self.at, self.every)


@hookimpl
def forestgaps_callbacks():
    return {"interrupt": InterruptConfig}
