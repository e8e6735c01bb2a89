"""Mean loss, learning rate and gradient norm of an interval of steps, without synchronizing with the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


def scalar_names(prefix: str) -> tuple[str, str, str]:
    """Return the names of the mean loss, the learning rate, and the last gradient norm before clipping."""
    return f"{prefix}/loss", f"{prefix}/rate", f"{prefix}/gradient_norm"


@define(eq=False)
class Interval:
    """The mean loss of some steps. The sum stays on the device until it is read."""

    total: Tensor | None = None
    steps: int = 0

    def add(self, loss: Tensor) -> None:
        """Add the loss of one step, (), on its device."""
        # After a resume the sum comes from the checkpoint and is on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1

    def read(self, trainer: Trainer, prefix: str) -> dict[str, float]:
        """Return the values by their `scalar_names`, and start the next interval. Synchronizes with the device once.

        A trainer that does not clip gradients measures no norm; the result then has none.
        """
        assert self.total is not None, "an interval without steps"
        norm = trainer.gradient_norm
        on_device = [self.total / self.steps] if norm is None else [self.total / self.steps, norm.to(self.total)]
        loss, *norms = torch.stack(on_device).tolist()
        self.total, self.steps = None, 0
        return dict(zip(scalar_names(prefix), (loss, trainer.rate, *norms), strict=False))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of an unfinished interval."""
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the interval of a `state_dict`."""
        self.total, self.steps = state["total"], state["steps"]
