"""Changes torch's settings for the whole process: when built, in an event, or in the middle of the run's work."""

import torch
from attrs import define, field, frozen
from torch import nn

from forestgaps_core import hookimpl


def change(how):
    if how == "threads":
        torch.set_num_threads(3)
    elif how == "dtype":
        torch.set_default_dtype(torch.float64)
    elif how == "deterministic":
        torch.use_deterministic_algorithms(True)
    elif how == "gradients":
        torch.set_grad_enabled(False)
    elif how == "generator":
        torch.manual_seed(12345)
        torch.rand(100)


@define(eq=False)
class Changer:
    how: str

    @hookimpl
    def step_end(self, trainer):
        change(self.how)


@frozen(kw_only=True)
class ChangerConfig:
    """Changes settings."""

    how: str = field(default="", metadata={"help": "Which, in the event."})
    built: str = field(default="", metadata={"help": "Which, when built."})

    def build(self):
        change(self.built)
        return Changer(self.how)


@define(eq=False)
class ChangingLoss:
    how: str

    def __call__(self, logits, batch):
        change(self.how)
        cost = nn.functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none") * batch.valid
        return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


@frozen(kw_only=True)
class ChangingLossConfig:
    """Changes settings when it is computed."""

    how: str = field(default="", metadata={"help": "Which."})

    def build(self):
        return ChangingLoss(self.how)


@hookimpl
def forestgaps_callbacks():
    return {"changer": ChangerConfig}


@hookimpl
def forestgaps_losses():
    return {"changing": ChangingLossConfig}
