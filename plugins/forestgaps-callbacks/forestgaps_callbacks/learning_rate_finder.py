"""Suggest a learning rate by a test with increasing rates."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, lt
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from forestgaps_callbacks.stateful_parts import collect_stateful_parts
from forestgaps_core import hookimpl
from forestgaps_core.files.atomic import write_text

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class LearningRateFinderConfig:
    """Trains some steps at rates that increase from `low` to `high`, suggests a rate, restores the weights and stops.

    Step k of n uses the rate low * (high / low)^(k / (n - 1)). The suggested rate is where the smoothed loss decreases
    fastest over the logarithm of the rate, before its minimum. Rates, losses and the suggestion are written to `LABEL.json`
    in the run folder. It ends early if the loss is 4 times the smallest, or not finite. Source: Smith 2017, section 3.3,
    arXiv:1506.01186; the suggestion by steepest descent: Gugger 2018, "How do you find a good learning rate".
    """

    low: float = field(default=1e-6, validator=gt(0), metadata={"help": "Rate of the first step."})
    high: float = field(default=1.0, validator=gt(0), metadata={"help": "Rate of the last step; above low."})
    steps: int = field(default=100, validator=ge(10), metadata={"help": "Optimizer steps to try."})
    smoothing: float = field(
        default=0.9, validator=and_(ge(0), lt(1)), metadata={"help": "Fraction of the moving mean of the loss kept in each step."}
    )

    def __attrs_post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")

    def build(self, run_folder: Path, label: str) -> LearningRateFinder:
        return LearningRateFinder(
            path=run_folder / f"{label}.json", low=self.low, high=self.high, steps=self.steps, smoothing=self.smoothing
        )


@define(eq=False)
class LearningRateFinder:
    changes: ClassVar = frozenset({"weights", "optimizer"})

    path: Path
    low: float = 1e-6
    high: float = 1.0
    steps: int = 100
    smoothing: float = 0.9
    losses: list[Tensor] = field(factory=list, init=False)
    before: dict[str, Any] = field(factory=dict, init=False)
    hook: RemovableHandle | None = field(default=None, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.losses.clear()
        self.before = {name: copy.deepcopy(part.state_dict()) for name, part in collect_stateful_parts(trainer).items()}
        assert trainer.optimizer is not None
        self.hook = trainer.optimizer.register_step_pre_hook(self.set_rate)

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        if self.hook is not None:
            self.losses.append(loss)
            if len(self.losses) == self.steps or (len(self.losses) % 10 == 0 and self.has_diverged()):
                self.finish(trainer)

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        if self.hook is not None:  # the data ended first
            self.finish(trainer)

    def compute_rate(self, step: int) -> float:
        return self.low * math.exp(math.log(self.high / self.low) * step / (self.steps - 1))

    def set_rate(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Set the rate just before a step, after the trainer has set the schedule's rates."""
        for group in optimizer.param_groups:
            group["lr"] = self.compute_rate(len(self.losses))

    def has_diverged(self) -> bool:
        losses = smooth_losses(torch.stack(self.losses).tolist(), self.smoothing)  # waits for the device
        return not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses)

    def finish(self, trainer: Trainer) -> None:
        assert self.hook is not None
        self.hook.remove()
        self.hook = None
        for name, part in collect_stateful_parts(trainer).items():
            part.load_state_dict(self.before[name])
        losses = torch.stack(self.losses).tolist() if self.losses else []
        rates = [self.compute_rate(step) for step in range(len(losses))]
        best = suggest_rate(rates, smooth_losses(losses, self.smoothing))
        known = [loss if math.isfinite(loss) else None for loss in losses]
        said = "no rate made the loss fall" if best is None else f"the loss falls fastest at a learning rate of {best:.1e}"
        trainer.stop(f"{said}; see {self.path}")
        write_text(self.path, json.dumps({"suggested": best, "rates": rates, "losses": known}) + "\n")


def smooth_losses(values: Sequence[float], keep: float) -> list[float]:
    """Return the exponential moving mean without its bias to 0 at the start (Kingma & Ba 2015, section 3, arXiv:1412.6980)."""
    mean, found = 0.0, []
    for count, value in enumerate(values, start=1):
        mean = keep * mean + (1 - keep) * value
        found.append(mean / (1 - keep**count))
    return found


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate where the loss decreases fastest over its logarithm; None if it never decreases."""
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    if not finite or min(finite) == math.inf:
        return None
    lowest = finite.index(min(finite))
    slopes = [(finite[k + 1] - finite[k - 1]) / (math.log(rates[k + 1]) - math.log(rates[k - 1])) for k in range(1, lowest)]
    steepest = min(slopes, default=0.0)
    return rates[1 + slopes.index(steepest)] if steepest < 0 else None
