"""What happened since the last point of a curve, gathered without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.trainer import Trainer


@define(eq=False)
class Interval:
    """The mean loss of some steps; the sum stays on the device until it is read."""

    total: Tensor | None = None
    steps: int = 0

    def add(self, loss: Tensor) -> None:
        # After a resume the sum so far comes from the checkpoint, on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1

    def read(self, trainer: Trainer) -> dict[str, float]:
        """Mean loss, last gradient norm before clipping if there is one, and rate; starts anew. Waits for the device once."""
        assert self.total is not None, "an interval without steps"
        norm = trainer.gradient_norm
        on_device = [self.total / self.steps] if norm is None else [self.total / self.steps, norm.to(self.total)]
        values = dict(zip(("steps/loss", "steps/gradient_norm"), torch.stack(on_device).tolist(), strict=False))
        self.total, self.steps = None, 0
        return {**values, "steps/rate": trainer.rate}

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total, self.steps = state["total"], state["steps"]
