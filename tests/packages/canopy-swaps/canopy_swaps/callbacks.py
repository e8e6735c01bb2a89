"""Callbacks: one that changes weights, one that tracks a run, and one that kills its process."""

import json
import os
import signal

import torch
from attrs import define, field, frozen
from attrs.validators import ge

from forestgaps_core import hookimpl


@define(eq=False)
class Lottery:
    """Sets the smallest weights of each kernel to 0 after each step, and counts how often."""

    fraction: float
    steps: int = field(default=0, init=False)
    changes = frozenset({"weights"})

    @hookimpl
    def step_end(self, trainer):
        self.steps += 1
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.dim() > 1:
                    size = parameter.abs()
                    parameter.masked_fill_(size < size.flatten().quantile(self.fraction), 0)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@frozen(kw_only=True)
class LotteryConfig:
    """Keeps the smallest weights at 0."""

    fraction: float = field(default=0.1, validator=ge(0), metadata={"help": "Fraction of the weights of a kernel."})

    def build(self):
        return Lottery(self.fraction)


@define(eq=False)
class Tracker:
    """Writes scores and what was logged, a line for each epoch."""

    path: object
    lines: list = field(factory=list, init=False)

    @hookimpl
    def epoch_end(self, trainer, scores):
        self.lines.append(json.dumps({"epoch": trainer.epoch, **scores}))
        self.path.write_text("\n".join(self.lines) + "\n")

    def state_dict(self):
        return {"lines": list(self.lines)}

    def load_state_dict(self, state):
        self.lines = list(state["lines"])


@frozen(kw_only=True)
class TrackerConfig:
    """Writes the scores of each epoch into a file of the run folder."""

    file: str = field(default="track.jsonl", metadata={"help": "Name of the file."})

    def build(self, run_folder):
        return Tracker(run_folder / self.file)


@define(eq=False)
class Killer:
    folder: object

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == 5:
            trainer.checkpoint(self.folder / "checkpoints" / "last.safetensors")
        if trainer.step == 7 and os.environ.get("CANOPY_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)


@frozen(kw_only=True)
class Kill:
    """Writes a checkpoint after step 5 and kills the process after step 7, where the environment has CANOPY_KILL."""

    def build(self, run_folder):
        return Killer(run_folder)
