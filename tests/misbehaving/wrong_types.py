"""One component of each kind that returns, raises or is what its kind does not allow, as its `how` says."""

import torch
from attrs import define, field, frozen
from torch import nn

from forestgaps_core import Tile, hookimpl

HOW = {"help": "What is wrong."}


def trouble():
    raise ZeroDivisionError("divided by the weather")


@define(eq=False)
class Source:
    how: str

    def __len__(self):
        return -1 if self.how == "length" else 8

    def read(self, index, draw):
        size = 16 + 2 * (index % 2) if self.how == "sizes" else 16
        height = torch.rand((size, size), generator=torch.Generator().manual_seed(index)) * 20
        tile = Tile(dsm=400 + height, height=height, valid=height < 19)
        if self.how == "tuple":
            return tile.dsm, tile.height, tile.valid
        if self.how == "dtype":
            return Tile(dsm=tile.dsm.double(), height=tile.height, valid=tile.valid)
        if self.how == "dimensions":
            return Tile(dsm=tile.dsm[None], height=tile.height[None], valid=tile.valid[None])
        if self.how == "shapes":
            return Tile(dsm=tile.dsm, height=tile.height[:8], valid=tile.valid)
        if self.how == "array":
            return Tile(dsm=tile.dsm.tolist(), height=tile.height, valid=tile.valid)
        return trouble() if self.how == "raises" and index == 5 else tile


@define(eq=False)
class TheData:
    train: object
    validation: object
    test: object
    resolution_m: object = 1.0


@frozen(kw_only=True)
class DataConfig:
    """Data."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        if self.how == "build":
            trouble()
        if self.how == "none":
            return None
        if self.how == "resolution":
            return TheData(*(Source("") for _ in range(3)), resolution_m="fine")
        if self.how == "no_source":
            return TheData([], [], [])
        return TheData(*(Source(self.how) for _ in range(3)))


class Net(nn.Module):
    def __init__(self, how, norm):
        super().__init__()
        self.how, self.layer, self.norm = how, nn.Conv2d(1, 1, 1), norm(1)

    def forward(self, dsm, valid, thresholds):
        logits = self.norm(self.layer(dsm - dsm.mean((2, 3), keepdim=True))).expand(-1, thresholds.shape[1], -1, -1)
        wrong = {
            "planes": lambda: logits[:, :1],
            "small": lambda: logits[..., ::2, ::2],
            "tuple": lambda: (logits, logits),
            "none": lambda: None,
            "integers": lambda: logits.long(),
            "raises": trouble,
        }
        return wrong.get(self.how, lambda: logits)()


@frozen(kw_only=True)
class ModelConfig:
    """A network."""

    how: str = field(default="", metadata=HOW)

    def build(self, normalization):
        if self.how == "build":
            trouble()
        return (lambda dsm, valid, thresholds: dsm) if self.how == "no_module" else Net(self.how, normalization)


@frozen(kw_only=True)
class NormalizationConfig:
    """Layers."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        wrong = {
            "build": trouble,
            "none": lambda: None,
            "no_layer": lambda: lambda channels: channels,
            "raises": lambda: lambda channels: trouble(),
        }
        return wrong.get(self.how, lambda: nn.BatchNorm2d)()


def right_loss(logits, batch):
    return nn.functional.binary_cross_entropy_with_logits(logits, batch.target)


@frozen(kw_only=True)
class LossConfig:
    """A loss."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        wrong = {
            "number": lambda logits, batch: 0.5,
            "none": lambda logits, batch: None,
            "vector": lambda logits, batch: logits.mean((1, 2, 3)),
            "detached": lambda logits, batch: logits.mean().detach(),
            "raises": lambda logits, batch: trouble(),
            "not_callable": 7,
        }
        return trouble() if self.how == "build" else wrong.get(self.how, right_loss)


@frozen(kw_only=True)
class SchedulerConfig:
    """A schedule."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        wrong = {
            "no_number": lambda step: float("nan"),
            "negative": lambda step: -1.0,
            "text": lambda step: "fast",
            "none": lambda step: None,
            "raises": lambda step: trouble(),
            "not_callable": 7,
        }
        return trouble() if self.how == "build" else wrong.get(self.how, lambda step: 1.0)


@define(eq=False)
class Score:
    how: str
    batches: int = 0

    def update(self, logits, batch):
        self.batches += 1
        if self.how == "raises":
            trouble()

    def merge(self, other):
        self.batches += other.batches

    def compute(self):
        wrong = {
            "list": lambda: [1.0],
            "number": lambda: 1.0,
            "text": lambda: {"score": "good"},
            "vector": lambda: {"score": torch.ones(3)},
            "names": lambda: {3: 1.0},
            "raises_at_the_end": trouble,
        }
        return wrong.get(self.how, lambda: {"score": float(self.batches)})()


@frozen(kw_only=True)
class MetricConfig:
    """A metric."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        if self.how == "build":
            trouble()
        return object() if self.how == "no_metric" else Score(self.how)


@define(eq=False)
class Listener:
    how: str

    @hookimpl
    def epoch_end(self, trainer, scores):
        pass

    def state_dict(self):
        wrong = {
            "state_of_objects": lambda: {"settings": Listener("")},
            "state_of_functions": lambda: {"function": lambda: 1},
            "state_raises": trouble,
        }
        return wrong.get(self.how, dict)()


@frozen(kw_only=True)
class CallbackConfig:
    """A callback."""

    how: str = field(default="", metadata=HOW)

    def build(self):
        if self.how == "build":
            trouble()
        return object() if self.how == "no_events" else Listener(self.how)


@hookimpl
def forestgaps_data():
    return {"wrong": DataConfig}


@hookimpl
def forestgaps_models():
    return {"wrong": ModelConfig}


@hookimpl
def forestgaps_normalizations():
    return {"wrong": NormalizationConfig}


@hookimpl
def forestgaps_losses():
    return {"wrong": LossConfig}


@hookimpl
def forestgaps_schedulers():
    return {"wrong": SchedulerConfig}


@hookimpl
def forestgaps_metrics():
    return {"wrong": MetricConfig}


@hookimpl
def forestgaps_callbacks():
    return {"wrong": CallbackConfig}
