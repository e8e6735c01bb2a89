"""What happened since the last point of a curve, or row of a log, gathered without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


def names(under: str) -> tuple[str, str, str]:
    """Of mean loss, rate, and last gradient norm before clipping, which a trainer that does not clip has not measured."""
    return f"{under}/loss", f"{under}/rate", f"{under}/gradient_norm"


@define(eq=False)
class Interval:
    """The mean loss of some steps; the sum stays on the device until it is read."""

    total: Tensor | None = None
    steps: int = 0

    def add(self, loss: Tensor) -> None:
        """The loss of one more step, (), on its device."""
        # After a resume the sum so far comes from the checkpoint, on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1

    def read(self, trainer: Trainer, under: str) -> dict[str, float]:
        """The values that are known, by their `names`; starts anew. Waits for the device once."""
        assert self.total is not None, "an interval without steps"
        norm = trainer.gradient_norm
        on_device = [self.total / self.steps] if norm is None else [self.total / self.steps, norm.to(self.total)]
        loss, *norms = torch.stack(on_device).tolist()
        self.total, self.steps = None, 0
        return dict(zip(names(under), (loss, trainer.rate, *norms), strict=False))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of an interval that is not over."""
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self.total, self.steps = state["total"], state["steps"]
