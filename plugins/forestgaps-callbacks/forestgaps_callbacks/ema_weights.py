"""EMA weights: an exponential moving average of the weights that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, lt
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class EmaWeightsConfig:
    """Keeps an exponential moving average of the network's weights and evaluates with it.

    After step t the average is a <- d a + (1 - d) w, with d = min(decay, t / (t + warmup)), so that the first weights, which
    are random, are soon forgotten. Running statistics of norms are averaged alike; counters are copied. Validation uses the
    average; training continues with the weights themselves. Both are in every checkpoint, the average under `ema_weights`
    of this callback's state. Source: Polyak & Juditsky 1992, doi 10.1137/0330046; Tarvainen & Valpola 2017, arXiv:1703.01780
    """

    decay: float = field(
        default=0.999, validator=and_(ge(0), lt(1)), metadata={"help": "What stays of the average in each step, 0 to below 1."}
    )
    warmup: float = field(
        default=10.0, validator=ge(0), metadata={"help": "Steps it takes until half of the average stays in a step; 0: no warm-up."}
    )

    def build(self) -> EmaWeights:
        return EmaWeights(decay=self.decay, warmup=self.warmup)


@define(eq=False)
class EmaWeights:
    changes: ClassVar = frozenset({"weights"})
    evaluated_weights: ClassVar = "ema_weights"  # where they are in `state_dict`

    decay: float = 0.999
    warmup: float = 10.0
    average: dict[str, Tensor] | None = field(default=None, init=False)
    updates: int = field(default=0, init=False)
    exchanged: bool = field(default=False, init=False)  # whether the network holds the average

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        live = trainer.model.state_dict()
        start = live if self.average is None else self.average
        # Copied to the network's own device and memory format.
        self.average = {name: tensor.detach().clone().copy_(start[name]) for name, tensor in live.items()}

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        assert self.average is not None
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + self.warmup))
        live = trainer.model.state_dict()
        floating = [name for name, tensor in live.items() if tensor.is_floating_point()]
        mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch has not typed it
        mean([self.average[name] for name in floating], [live[name] for name in floating], self.updates)
        for name in live.keys() - set(floating):
            self.average[name].copy_(live[name])

    # Exchanged before any other callback looks at the network, and back after all have.
    @hookimpl(tryfirst=True)
    def evaluation_start(self, trainer: Trainer) -> None:
        if self.average is not None and not self.exchanged:
            self.exchange(trainer)

    @hookimpl(trylast=True)
    def evaluation_end(self, trainer: Trainer) -> None:
        if self.exchanged:
            self.exchange(trainer)

    @hookimpl(tryfirst=True)
    def fit_end(self, trainer: Trainer) -> None:
        if self.exchanged:  # an error interrupted an evaluation
            self.exchange(trainer)

    @torch.no_grad()
    def exchange(self, trainer: Trainer) -> None:
        assert self.average is not None
        for name, tensor in trainer.model.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)
        self.exchanged = not self.exchanged

    def state_dict(self) -> dict[str, Any]:
        return {"ema_weights": self.average, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.average, self.updates = state["ema_weights"], state["updates"]
