"""A callback that interrupts a run, and writes how often the teacher was asked."""

import os

from attrs import define, field, frozen
from attrs.validators import ge

from forestgaps_core import hookimpl


@define(eq=False)
class HaltAtStep:
    step: int
    folder: object
    teacher: object

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == self.step and os.environ.get("CANOPY_HALT"):
            trainer.stop("halted", final=False)

    @hookimpl
    def fit_end(self, trainer):
        assert trainer.further["teacher"] is self.teacher
        (self.folder / "calls.txt").write_text(str(self.teacher.calls))


@frozen(kw_only=True)
class Halt:
    """Interrupts a run after a step, where the environment has CANOPY_HALT."""

    step: int = field(default=5, validator=ge(1), metadata={"help": "The step."})

    def build(self, run_folder, teacher):
        return HaltAtStep(self.step, run_folder, teacher)
