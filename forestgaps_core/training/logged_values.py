"""Values that callbacks and the loss log by name. Their means stay on the device until a log reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from forestgaps_core.errors import PluginError

Value = float | Tensor  # a tensor has the shape ()
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")
OF_THE_TRAINER = ("loss", "rate", "gradient_norm")
WHEN = "log values from step_start to epoch_end, not at fit_start, epoch_start or fit_end, which a resumed run sends again"


@define(eq=False)
class MeanValues:
    """Means of values by name. Nothing is read from the device before `read`."""

    sums: dict[str, Value] = field(factory=dict)
    counts: dict[str, int] = field(factory=dict)

    def add(self, name: str, value: Value) -> None:
        if name not in self.sums:
            self.sums[name], self.counts[name] = value, 1
            return
        total = self.sums[name]
        if isinstance(total, Tensor) and isinstance(value, Tensor):
            total = total.to(value.device)  # after a resume the sum comes from the checkpoint and is on the CPU
        self.sums[name] = total + value
        self.counts[name] += 1

    def add_all(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            self.add(name, value)

    def merge(self, other: MeanValues) -> None:
        """Add the values of another process."""
        for name, total in other.sums.items():
            self.add(name, total)
            self.counts[name] += other.counts[name] - 1

    def to(self, device: str) -> MeanValues:
        sums = {name: total.to(device) if isinstance(total, Tensor) else total for name, total in self.sums.items()}
        return MeanValues(sums, dict(self.counts))

    def means(self) -> dict[str, Value]:
        return {name: total if self.counts[name] == 1 else total / self.counts[name] for name, total in self.sums.items()}

    def clear(self) -> None:
        self.sums, self.counts = {}, {}

    def read(self) -> dict[str, float]:
        """Return the means as numbers and clear them. Waits for the device once."""
        means = self.means()
        self.clear()
        return read_values(means)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


def read_values(values: Mapping[str, Value]) -> dict[str, float]:
    """Return values as numbers. Waits for the device once."""
    tensors = [value for value in values.values() if isinstance(value, Tensor)]
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    numbers = iter(torch.stack([tensor.to(tensors[-1].device, dtype) for tensor in tensors]).tolist() if tensors else ())
    return {name: next(numbers) if isinstance(value, Tensor) else value for name, value in values.items()}


class ValueLog:
    """What a trainer does with the values of `log`.

    Attributes:
        step: Means of the current step.
        epoch: Means over the steps of the current epoch.
        device: Where tensors must be.
    """

    def __init__(self, device: torch.device) -> None:
        self.step, self.epoch, self.device = MeanValues(), MeanValues(), device
        self._prefix = ""
        self._target: MeanValues | dict[str, float] | None = None
        self._owners: dict[str, str] = {}  # by full name, who logged it first

    @contextmanager
    def collect(self, prefix: str, target: MeanValues | dict[str, float] | None) -> Iterator[None]:
        """Collect in `target` what is logged inside the block: means of a pass, or scores that are complete. None: nothing."""
        outer = self._prefix, self._target
        self._prefix, self._target = prefix, target
        try:
            yield
        finally:
            self._prefix, self._target = outer

    def end_step(self) -> None:
        if self.step.sums:
            self.epoch.add_all(self.step.means())
            self.step.clear()

    def log(self, name: str, value: Value, owner: str) -> None:
        """Add a value.

        Args:
            owner: Words for the component that logs it.

        Raises:
            PluginError: The name is taken or malformed, the value is not a scalar, or this is no time to log values.
        """
        checked = self._check(name, value, owner)
        if isinstance(self._target, MeanValues):
            self._target.add(name, checked)
        elif self._target is None:
            raise PluginError(f"{owner} logs {name!r} outside of steps and passes; {WHEN}")
        else:
            full = f"{self._prefix}/{name}"
            if full in self._target:
                raise PluginError(f"{owner} logs {name!r}, but {full} is already a score of this epoch; choose another name")
            self._target[full] = read_values({full: checked})[full]

    def log_from_loss(self, name: str, value: Value, owner: str) -> None:
        """The same for the loss, which is also called where nothing is collected, such as in the report on a bad step."""
        if self._target is not None:
            self.log(name, value, owner)

    def _check(self, name: str, value: object, owner: str) -> Value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PluginError(f"{owner} logs {name!r}; use a name of letters, digits and _ . @ -, without the prefix of the split")
        if name in OF_THE_TRAINER:
            raise PluginError(f"{owner} logs {name!r}, which is a value of the trainer; choose another name")
        if self._owners.setdefault(f"{self._prefix}/{name}", owner) != owner:
            first = self._owners[f"{self._prefix}/{name}"]
            raise PluginError(f"{owner} logs {name!r}, which {first} logs too; choose another name for one of them")
        if isinstance(value, Tensor):
            return self._check_tensor(name, value, owner)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise PluginError(f"{owner} logs {name!r} as a {type(value).__name__}, expected a number or a tensor of shape ()")
        return float(value)

    def _check_tensor(self, name: str, value: Tensor, owner: str) -> Tensor:
        if value.shape != ():
            raise PluginError(f"{owner} logs {name!r} as a tensor of shape {tuple(value.shape)}, expected (); log its mean, say")
        if value.requires_grad:
            raise PluginError(f"{owner} logs {name!r} with its gradient; log value.detach()")
        if value.device != self.device:
            raise PluginError(f"{owner} logs {name!r} on {value.device}, expected a number or a tensor on {self.device}")
        # A copy: whoever logs it may change it in place later.
        return value.clone() if value.dtype in (torch.float32, torch.float64) else value.float()
