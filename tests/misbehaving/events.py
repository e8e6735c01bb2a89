"""A callback that, at an event and from a step on, raises, leaves, prints, or leaves something running."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

from attrs import define, field, frozen

from forestgaps_core import hookimpl


def misbehave(how):
    if how == "raises":
        raise ZeroDivisionError("divided by the weather")
    if how == "exits":
        sys.exit(0)
    if how == "prints":
        print("printed by Python")
        os.write(1, b"printed below Python\n")
    if how == "thread":
        threading.Thread(target=time.sleep, args=(600,), name="endless").start()
    if how == "process":
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), name="endless child").start()
    if how == "program":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


@define(eq=False)
class Misbehaving:
    how: str
    at: str
    step: int

    def heard(self, event, trainer):
        if event == self.at and trainer.step >= self.step:
            misbehave(self.how)

    @hookimpl
    def fit_start(self, trainer):
        self.heard("fit_start", trainer)

    @hookimpl
    def epoch_start(self, trainer):
        self.heard("epoch_start", trainer)

    @hookimpl
    def step_end(self, trainer):
        self.heard("step_end", trainer)

    @hookimpl
    def evaluation_start(self, trainer):
        self.heard("evaluation_start", trainer)

    @hookimpl
    def evaluation_batch(self, trainer):
        self.heard("evaluation_batch", trainer)

    @hookimpl
    def evaluation_end(self, trainer):
        self.heard("evaluation_end", trainer)

    @hookimpl
    def epoch_end(self, trainer):
        self.heard("epoch_end", trainer)

    @hookimpl
    def fit_end(self, trainer):
        self.heard("fit_end", trainer)


@frozen(kw_only=True)
class MisbehavingConfig:
    """Misbehaves."""

    how: str = field(default="", metadata={"help": "What it does."})
    at: str = field(default="step_end", metadata={"help": "Event."})
    step: int = field(default=0, metadata={"help": "Completed steps before it."})

    def build(self):
        return Misbehaving(self.how, self.at, self.step)


@hookimpl
def forestgaps_callbacks():
    return {"misbehaving": MisbehavingConfig}
