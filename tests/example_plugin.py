"""A plugin as a user's own file: one component of each kind, small enough for tests."""

from __future__ import annotations

import torch
from attrs import define, field, frozen
from attrs.validators import ge
from torch import nn

from forestgaps_core import Tile, hookimpl
from forestgaps_core.runtime.rng import uniform
from forestgaps_core.testing.example_run import example_loss


@define(eq=False)
class Hills:
    samples: int
    size: int
    salt: int

    def __len__(self):
        return self.samples

    def read(self, index, draw):
        key = torch.tensor([index * 1000 + self.salt])
        relief = uniform(key, "relief", self.size * self.size).reshape(self.size, self.size).float()
        height = (uniform(torch.tensor([draw]), "height", self.size * self.size).reshape(self.size, self.size) * 25).float()
        return Tile(dsm=400 + relief + height, height=height, valid=height < 24)


@define(eq=False)
class HillsData:
    train: Hills
    validation: Hills
    test: Hills
    resolution_m: float = 1.0


@frozen(kw_only=True)
class HillsConfig:
    """Random hills."""

    samples: int = field(default=10, validator=ge(0), metadata={"help": "Samples in an epoch."})
    size: int = field(default=16, validator=ge(4), metadata={"help": "Pixels along an edge."})

    def build(self, seed):
        return HillsData(*(Hills(self.samples, self.size, seed * 10 + salt) for salt in range(3)))


class Net(nn.Module):
    def __init__(self, width, norm, dropout):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, width, 3, padding=1), norm(width)
        self.dropout, self.last = nn.Dropout(dropout), nn.Conv2d(width, 2, 1)

    def forward(self, dsm, valid, thresholds):
        relief = dsm - dsm.mean((2, 3), keepdim=True)
        scale, shift = self.last(self.dropout(self.norm(self.first(relief / 10)).relu())).split(1, 1)
        return scale * thresholds.log()[:, :, None, None] + shift


@frozen(kw_only=True)
class NetConfig:
    """One layer."""

    width: int = field(default=4, validator=ge(1), metadata={"help": "Channels."})
    dropout: float = field(default=0.2, validator=ge(0), metadata={"help": "Share of features dropped."})

    def build(self, normalization):
        return Net(self.width, normalization, self.dropout)


@frozen(kw_only=True)
class Binary:
    """Cross-entropy."""

    focus: float = field(default=0.0, validator=ge(0), metadata={"help": "Not used."})

    def build(self):
        return example_loss


class Share:
    def __init__(self):
        self.right = self.all = None

    def update(self, logits, batch):
        right = (((logits > 0) == (batch.target > 0.5)) & batch.valid).sum()
        pixels = batch.valid.expand_as(logits).sum()
        self.right = right if self.right is None else self.right + right
        self.all = pixels if self.all is None else self.all + pixels

    def merge(self, other):
        if other.all is not None:
            self.right = other.right if self.right is None else self.right + other.right
            self.all = other.all if self.all is None else self.all + other.all

    def compute(self):
        return {} if self.all is None else {"accuracy": (self.right / self.all).item()}


@frozen(kw_only=True)
class ShareConfig:
    """Share of pixels called right."""

    def build(self):
        return Share()


@define(eq=False)
class Recorder:
    """Writes down what it is told, and asks for a checkpoint at steps."""

    folder: object
    every: int
    told: list = field(factory=list)

    @hookimpl
    def step_end(self, trainer, loss):
        self.told.append(f"step {trainer.step}")
        if trainer.step % self.every == 0:
            trainer.checkpoint(self.folder / "checkpoints" / "last.safetensors")

    @hookimpl
    def epoch_end(self, trainer, scores):
        self.told.append(f"epoch {trainer.epoch} {sorted(scores)}")

    def state_dict(self):
        return {"told": list(self.told)}

    def load_state_dict(self, state):
        self.told = list(state["told"])


@frozen(kw_only=True)
class RecorderConfig:
    """Writes down what it is told."""

    every: int = field(default=3, validator=ge(1), metadata={"help": "Steps between checkpoints."})

    def build(self, run_folder):
        return Recorder(run_folder, self.every)


@frozen(kw_only=True)
class Batchwise:
    """Batch norm."""

    def build(self):
        return nn.BatchNorm2d


def falling(step):
    return 1.0 / (1 + step)


@frozen(kw_only=True)
class Falling:
    """One over the step."""

    def build(self):
        return falling


@hookimpl
def forestgaps_data():
    return {"hills": HillsConfig}


@hookimpl
def forestgaps_models():
    return {"net": NetConfig}


@hookimpl
def forestgaps_losses():
    return {"binary": Binary}


@hookimpl
def forestgaps_metrics():
    return {"share": ShareConfig}


@hookimpl
def forestgaps_callbacks():
    return {"recorder": RecorderConfig}


@hookimpl
def forestgaps_normalizations():
    return {"batchwise": Batchwise}


@hookimpl
def forestgaps_schedulers():
    return {"falling": Falling}
