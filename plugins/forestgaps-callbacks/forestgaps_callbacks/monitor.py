"""A log of learning rates and gradient norms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor
from torch.nn.utils import get_total_norm

from forestgaps_callbacks.json_rows import JsonRowsCallback
from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class MonitorConfig:
    """Writes learning rates and gradient norms to `LABEL.jsonl` in the run folder.

    A row stands for the steps since the one before: the rate and momentum of each parameter group in its last step; mean and
    largest gradient norm before clipping; and the share of steps whose gradient was clipped, which is near 0 where the
    limit never matters and near 1 where it sets the size of every step.
    """

    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one row to the next."})

    def build(self, run_folder: Path, label: str) -> Monitor:
        return Monitor(path=run_folder / f"{label}.jsonl", every=self.every)


@define(eq=False)
class Monitor(JsonRowsCallback):
    every: int = 50
    norms: list[Tensor] = field(factory=list, init=False)  # since the last row, on the device

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        self.norms.append(measure_gradient_norm(trainer))
        if trainer.step % self.every == 0:
            norms = torch.stack([norm.to(trainer.device) for norm in self.norms]).double()
            clipped = (norms > trainer.max_gradient_norm).double()
            mean, largest, share = torch.stack([norms.mean(), norms.max(), clipped.mean()]).tolist()  # waits for the device
            values = {"gradient_norm/mean": mean, "gradient_norm/max": largest, "clipped": share}
            self.norms.clear()
            self.rows.add("step", trainer, read_rates(trainer) | values)

    def state_dict(self) -> dict[str, Any]:
        return {"norms": list(self.norms), **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.norms = list(state["norms"])
        super().load_state_dict(state)


def measure_gradient_norm(trainer: Trainer) -> Tensor:
    """Return the gradient norm of the last step; measure it if the trainer has not."""
    if trainer.gradient_norm is not None:
        return trainer.gradient_norm
    gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    return get_total_norm(gradients).detach()


def read_rates(trainer: Trainer) -> dict[str, float]:
    """Return rate and momentum (the first beta) of each parameter group, by number."""
    assert trainer.optimizer is not None
    found = {}
    for place, group in enumerate(trainer.optimizer.param_groups):
        found[f"rate/{place}"] = float(group["lr"])
        momentum = group["betas"][0] if "betas" in group else group.get("momentum")
        if momentum is not None:
            found[f"momentum/{place}"] = float(momentum)
    return found
