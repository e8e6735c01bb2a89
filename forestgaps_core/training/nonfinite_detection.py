"""Detect non-finite values on the device, in the step in which they occur, without waiting for the device.

From the step on whose loss or gradient is not finite the optimizer is kept from moving the weights; how many steps were good
is counted on the device and read at intervals. Since order and draws of the samples are functions of (seed, epoch, index), the
batch of the step in question can then be made again and looked at (see `forestgaps_core.training.nonfinite_report`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer


class NonfiniteDetector:
    """Watches the steps of a run.

    Args:
        skip: Leave out a bad step and go on, rather than hold still from the first bad step on.
    """

    def __init__(self, device: torch.device, *, skip: bool) -> None:
        self.skip = skip
        self.seen = 0  # steps since the last reading
        self.bad = torch.zeros((), device=device)  # 1 from the first bad step on
        self.count = torch.zeros((), device=device)  # bad steps, with all since the first
        self.skipped = torch.zeros((), device=device)

    def see(self, loss: Tensor, norm: Tensor) -> Tensor:
        """1 if this step must not move the weights, 0 if it may: (), float32, on the device.

        Args:
            loss: Of the step, ().
            norm: Of its gradients, (); inf or NaN if any of them is.
        """
        number = loss + norm
        bad = number.sub_(number).nan_to_num_(1.0)  # infinity minus itself is NaN
        self.seen += 1
        torch.maximum(self.bad, bad, out=self.bad)
        self.count += self.bad
        if not self.skip:
            return self.bad
        self.skipped += bad
        return bad

    def read(self) -> int | None:
        """Steps since the last reading that came before the first bad one; None if all were good. Waits for the device."""
        bad, seen = int(self.count.item()), self.seen
        self.forget()
        return seen - bad if bad else None

    def forget(self) -> None:
        """Restart the count, as after weights of an earlier step were restored."""
        self.seen = 0
        self.bad.zero_()
        self.count.zero_()


def step_unless(bad: Tensor, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
    """One step of the optimizer, or none where `bad`, (), float32, is 1.

    Fused optimizers have a switch for it. For any other the gradients become 0: weights may then still move by momentum and decay.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf, optimizer.grad_scale = bad, None  # type: ignore[attr-defined]  # how torch's own scaler tells it
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]
    else:
        fill_where([p.grad for p in parameters if p.grad is not None], bad, 0.0)
        optimizer.step()


def fill_where(tensors: Sequence[Tensor], bad: Tensor, value: float) -> None:
    """Fill these with `value` where `bad` is 1."""
    where = bad > 0
    for tensor in tensors:
        tensor.masked_fill_(where, value)
