"""Mean loss, learning rate, gradient norm and logged values of an interval of steps, without synchronizing with the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field
from torch import Tensor

from forestgaps_core.training.logged_values import MeanValues, read_values

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


def scalar_names(prefix: str) -> tuple[str, str, str]:
    """Return the names of the mean loss, the learning rate, and the last gradient norm before clipping."""
    return f"{prefix}/loss", f"{prefix}/rate", f"{prefix}/gradient_norm"


@define(eq=False)
class Interval:
    """The mean loss of some steps, and the means of the values that were logged. All stay on the device until they are read."""

    total: Tensor | None = None
    steps: int = 0
    values: MeanValues = field(factory=MeanValues)

    def add(self, loss: Tensor, logged: Mapping[str, float | Tensor] | None = None) -> None:
        """Add the loss of one step, (), on its device, and what was logged in the step, `trainer.logged`."""
        # After a resume the sum comes from the checkpoint and is on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1
        if logged:
            self.values.add_all(logged)

    def read(self, trainer: Trainer, prefix: str) -> dict[str, float]:
        """Return the values by their `scalar_names`, and start the next interval. Synchronizes with the device once.

        A trainer that does not clip gradients measures no norm; the result then has none.
        """
        assert self.total is not None, "an interval without steps"
        loss, rate, gradient_norm = scalar_names(prefix)
        means: dict[str, float | Tensor] = {loss: self.total / self.steps, rate: trainer.rate}
        if trainer.gradient_norm is not None:
            means[gradient_norm] = trainer.gradient_norm.to(self.total)
        means |= {f"{prefix}/{name}": value for name, value in self.values.means().items()}
        self.total, self.steps = None, 0
        self.values.clear()
        return read_values(means)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of an unfinished interval."""
        return {"total": self.total, "steps": self.steps, "values": self.values.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the interval of a `state_dict`."""
        self.total, self.steps = state["total"], state["steps"]
        self.values.load_state_dict(state["values"])
