"""A loss with state that learns, and a metric."""

import torch
from attrs import field, frozen
from attrs.validators import gt
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class Balanced(nn.Module):
    """Cross-entropy with a temperature that is trained and a mean of past losses that is kept."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory
        self.temperature = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.ones(()))

    def forward(self, logits, batch, context=None):
        cost = binary_cross_entropy_with_logits(logits * self.temperature.exp(), batch.target, reduction="none") * batch.valid
        loss = cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)
        if context is not None and context.split == "train":
            context.log("balanced", loss.detach())
            self.mean = self.mean + (loss.detach() - self.mean) / self.memory
        return loss


@frozen(kw_only=True)
class BalancedConfig:
    """Cross-entropy at a temperature that is trained."""

    memory: float = field(default=10.0, validator=gt(1), metadata={"help": "Steps of the mean of past losses."})

    def build(self):
        return Balanced(self.memory)


class MappedFraction:
    def __init__(self):
        self.gaps = self.pixels = 0

    def update(self, logits, batch):
        self.gaps = self.gaps + ((logits > 0) & batch.valid).sum()
        self.pixels = self.pixels + batch.valid.expand_as(logits).sum()

    def merge(self, other):
        self.gaps, self.pixels = self.gaps + other.gaps, self.pixels + other.pixels

    def compute(self):
        return {} if isinstance(self.pixels, int) else {"mapped": (self.gaps / self.pixels).item()}


@frozen(kw_only=True)
class MappedFractionConfig:
    """Fraction of the valid pixels that are mapped as gap."""

    def build(self):
        return MappedFraction()
