"""Numbers that are none, noticed on the device in the very step, without waiting for it.

From the step on whose loss or gradient is not finite the optimizer is kept from moving the weights; how many steps were good
is counted on the device and read at intervals. Since order and draws of the samples are functions of (seed, epoch, index), the
batch of the step in question can then be made again and looked at (see `forestgaps_core.faults`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer


class Watch:
    """Watches the steps of a run.

    Args:
        skip: Leave out a bad step and go on, rather than hold still from the first bad step on.
    """

    def __init__(self, device: torch.device, *, skip: bool) -> None:
        self.skip = skip
        self.seen = 0  # steps since the last reading
        self.good = torch.ones((), dtype=torch.bool, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)  # good steps before the first bad one
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)

    def see(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether this step may move the weights: a bool on the device.

        Args:
            loss: Of the step, ().
            norm: Of its gradients, (); inf or NaN if any of them is.
        """
        good = (loss + norm).isfinite()
        self.seen += 1
        before = self.good
        self.good = before & good
        self.count += self.good
        if not self.skip:
            return self.good
        self.skipped += ~good
        return good

    def read(self) -> int | None:
        """Steps since the last reading that came before the first bad one; None if all were good. Waits for the device."""
        count, seen = int(self.count.item()), self.seen
        self.forget()
        return None if count == seen else count

    def forget(self) -> None:
        """Begin anew, as after weights of an earlier step were put back."""
        self.seen = 0
        self.good = torch.ones_like(self.good)
        self.count = torch.zeros_like(self.count)


def step_if(good: Tensor, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
    """One step of the optimizer where `good`, and none elsewhere.

    Fused optimizers have a switch for it. For any other the gradients become 0: weights may then still move by momentum and decay.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~good).to(torch.float32)  # type: ignore[attr-defined]  # how torch's own scaler tells it
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]
    else:
        blank([p.grad for p in parameters if p.grad is not None], ~good, 0.0)
        optimizer.step()


def blank(tensors: Sequence[Tensor], where: Tensor, value: float) -> None:
    """Fill these with `value` if `where`, a bool on the device, holds."""
    for tensor in tensors:
        tensor.masked_fill_(where, value)
