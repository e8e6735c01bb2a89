"""Stop or roll back when the loss or the weights diverge."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, lt, optional
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.utils.hooks import RemovableHandle

from forestgaps_callbacks.stateful_parts import collect_stateful_parts
from forestgaps_core import hookimpl
from forestgaps_core.output.counts import format_count

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class DivergenceGuardConfig:
    """Checks that loss and weights stay finite, and that the loss does not diverge.

    It checks every `every` steps. A check fails if a loss or a weight is not finite. With `ratio` it also fails if the mean
    loss since the last check exceeds `ratio` times the smallest such mean. Then the run stops. With `action = "roll_back"` it
    restores the weights and the optimizer's state of the last good check instead, and continues with the next batches, at
    `factor` times the rate. The logged rate is that of the schedule, without this factor. After `tries` it stops. `roll_back`
    keeps a second copy of the weights and of the optimizer's state, in memory and in checkpoints.
    """

    every: int = field(default=20, validator=ge(1), metadata={"help": "Optimizer steps from one check to the next."})
    action: Literal["stop", "roll_back"] = field(
        default="stop", metadata={"help": "stop, or roll_back to the last good state with a lower rate."}
    )
    ratio: float | None = field(
        default=None,
        validator=optional(gt(1)),
        metadata={"help": "Largest mean loss, divided by the smallest; for losses above 0. Absent: not checked."},
    )
    factor: float = field(default=0.5, validator=and_(gt(0), lt(1)), metadata={"help": "Factor on the rate at each roll back."})
    tries: int = field(default=3, validator=ge(1), metadata={"help": "Number of roll backs before the run stops."})

    def build(self) -> DivergenceGuard:
        return DivergenceGuard(every=self.every, action=self.action, ratio=self.ratio, factor=self.factor, tries=self.tries)


@define(eq=False)
class DivergenceGuard:
    changes: ClassVar = frozenset({"weights", "optimizer"})

    every: int = 20
    action: Literal["stop", "roll_back"] = "stop"
    ratio: float | None = None
    factor: float = 0.5
    tries: int = 3
    total: Tensor | None = field(default=None, init=False)  # of the losses since the last look
    steps: int = field(default=0, init=False)
    smallest: float | None = field(default=None, init=False)  # mean loss of a good look
    returns: int = field(default=0, init=False)
    good: dict[str, Any] | None = field(default=None, init=False)  # state at the last good look
    hook: RemovableHandle | None = field(default=None, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        assert trainer.optimizer is not None
        self.hook = trainer.optimizer.register_step_pre_hook(self.lower_rates)
        if self.good is None:
            self.save_state(trainer)

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        # After a resume the sum so far comes from the checkpoint, on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1
        if trainer.step % self.every == 0:
            weights = get_total_norm([p.detach() for p in trainer.model.parameters()])
            mean, size = torch.stack([self.total / self.steps, weights.to(self.total)]).tolist()  # waits for the device
            self.total, self.steps = None, 0
            wrong = self.find_fault(mean, size)
            if wrong is None:
                self.smallest = mean if self.smallest is None else min(mean, self.smallest)
                self.save_state(trainer)
            elif self.action == "roll_back" and self.returns < self.tries:
                self.roll_back(trainer)
            else:
                again = f", after going back {format_count(self.returns, 'time')}" if self.returns else ""
                trainer.stop(f"{wrong} at step {trainer.step}{again}")

    @hookimpl
    def fit_end(self) -> None:
        if self.hook is not None:
            self.hook.remove()
            self.hook = None

    def find_fault(self, mean: float, size: float) -> str | None:
        for what, value in (("the loss", mean), ("the size of the weights", size)):
            if not abs(value) < float("inf"):
                return f"{what} became {value}"
        if self.ratio is not None and self.smallest is not None and mean > self.ratio * self.smallest:
            return f"the loss diverged from {self.smallest:.4g} to {mean:.4g}"
        return None

    def save_state(self, trainer: Trainer) -> None:
        if self.action == "roll_back":
            self.good = {name: copy.deepcopy(part.state_dict()) for name, part in collect_stateful_parts(trainer).items()}

    def roll_back(self, trainer: Trainer) -> None:
        assert self.good is not None
        for name, part in collect_stateful_parts(trainer).items():
            part.load_state_dict(copy.deepcopy(self.good[name]))
        trainer.forget_nonfinite()
        self.returns += 1

    def lower_rates(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Lower the rates just before a step, after the trainer has set those of the schedule."""
        for group in optimizer.param_groups:
            group["lr"] *= self.factor**self.returns

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("total", "steps", "smallest", "returns", "good")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
