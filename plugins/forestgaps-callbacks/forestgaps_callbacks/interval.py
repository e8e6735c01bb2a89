"""What happened since the last row of a log, gathered without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.trainer import Trainer

VALUES = ("train/loss", "train/rate", "train/gradient_norm")


@define(eq=False)
class Interval:
    """The mean loss of some steps; the sum stays on the device until it is read."""

    total: Tensor | None = None
    steps: int = 0

    def add(self, loss: Tensor) -> None:
        # After a resume the sum so far comes from the checkpoint, on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1

    def read(self, trainer: Trainer) -> dict[str, float | None]:
        """Mean loss, rate and last gradient norm under the names of `VALUES`; starts anew. Waits for the device once."""
        assert self.total is not None, "an interval without steps"
        norm = trainer.gradient_norm
        on_device = [self.total / self.steps] if norm is None else [self.total / self.steps, norm.to(self.total)]
        loss, *norms = torch.stack(on_device).tolist()
        self.total, self.steps = None, 0
        return dict(zip(VALUES, (loss, trainer.rate, *(norms or [None])), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total, self.steps = state["total"], state["steps"]
