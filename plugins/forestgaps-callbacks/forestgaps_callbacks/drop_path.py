"""A schedule for stochastic depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from attrs import define, field, frozen
from attrs.validators import ge, lt
from torch import nn

from forestgaps_core import ConfigError, hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class DropPathScheduleConfig:
    """Moves the network's highest drop-path rate from `first` to `last`, linearly over epochs.

    In epoch e (counted from 0) of E the rate is first + (last - first) * min(1, e / (E - 1)); each layer takes its share of it
    by depth. A network learns its coarse shape with all its blocks before some of them are skipped at random.
    Works on every layer that has a method `set_rate`. Source of the layers: Huang et al. 2016, arXiv:1603.09382; of a
    rate that grows in training: Tan & Le 2021, section 4.2, arXiv:2104.00298 (there by stages).
    """

    first: float = field(default=0.0, validator=[ge(0), lt(1)], metadata={"help": "Highest rate of the first epoch, 0 to below 1."})
    last: float = field(default=0.2, validator=[ge(0), lt(1)], metadata={"help": "Highest rate after the rise, 0 to below 1."})
    epochs: int = field(default=0, validator=ge(0), metadata={"help": "Epochs from first to last; 0: all the epochs of the run."})

    def build(self, label: str) -> DropPathSchedule:
        return DropPathSchedule(first=self.first, last=self.last, epochs=self.epochs, label=label)


@define(eq=False)
class DropPathSchedule:
    changes: ClassVar = frozenset({"model"})

    """A function of the completed epochs, so it has no state of its own."""

    first: float = 0.0
    last: float = 0.2
    epochs: int = 0
    label: str = "drop_path"

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        setters = find_rate_setters(trainer.model)
        if not setters:
            raise ConfigError(f"callbacks.{self.label}: the network has no drop-path layer (none with a method set_rate)")
        rate = compute_drop_path_rate(trainer.epoch, first=self.first, last=self.last, epochs=self.epochs or trainer.epochs)
        for set_rate in setters:
            set_rate(rate)


def compute_drop_path_rate(epoch: int, *, first: float, last: float, epochs: int) -> float:
    """Return the rate of an epoch, counted from 0; `last` from epoch `epochs - 1` on."""
    return first + (last - first) * min(1.0, epoch / max(epochs - 1, 1))


def find_rate_setters(network: nn.Module) -> list[Callable[[float], None]]:
    found = (getattr(module, "set_rate", None) for module in network.modules())
    return [set_rate for set_rate in found if callable(set_rate)]
