"""Moving the weights: the optimizer at its scheduled rate, gradients clipped, steps that are no numbers left out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from math import inf
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from torch.nn.utils import clip_grad_value_
from torch.optim import Optimizer

from forestgaps_core.components import Scheduler
from forestgaps_core.contracts import NamedErrors, check_factor
from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.checkpoint import load_part
from forestgaps_core.training.nonfinite_detection import NonfiniteDetector, step_unless
from forestgaps_core.training.optimizer_state import is_alike, load_optimizer
from forestgaps_core.training.state import load_state, read_plain_state, read_state


def constant_rate(step: int) -> float:
    return 1.0


@define(eq=False, kw_only=True)
class OptimizerStep:
    """Steps of an optimizer.

    Attributes:
        optimizer: None where nothing is trained; it then has rates of 0 and no step.
        scheduler: Factor on the optimizer's learning rates by completed step.
        scheduler_errors: Names the schedule in errors.
        optimizer_errors: Names the optimizer in errors.
        watch: Receives every step; decides which must not change the weights.
        scaler: Of losses, for float16.
        parameters: All that the optimizer moves.
    """

    optimizer: Optimizer | None
    scheduler: Scheduler
    scheduler_errors: NamedErrors
    optimizer_errors: NamedErrors
    watch: NonfiniteDetector
    scaler: torch.amp.GradScaler
    base_rates: list[float] = field(init=False)
    parameters: list[Tensor] = field(init=False)

    def __attrs_post_init__(self) -> None:
        groups = self.optimizer.param_groups if self.optimizer else []
        self.base_rates = [group["lr"] for group in groups]
        self.parameters = [parameter for group in groups for parameter in group["params"]]

    def rate(self, step: int) -> float:
        """Of the optimizer's first group."""
        return float(self.base_rates[0]) * self.scheduler(step) if self.base_rates else 0.0

    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    # --- a step -----------------------------------------------------------------------------------------------------

    def set_rates(self, step: int) -> None:
        assert self.optimizer is not None
        with self.scheduler_errors:
            factor = self.scheduler(step)
        factor = check_factor(factor, step, self.scheduler_errors.name)
        momentum = getattr(self.scheduler, "momentum", None)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor
            if momentum is not None:
                set_momentum(group, momentum(step))

    def forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(self.scaler.scale(loss))

    def unscale(self) -> None:
        """Divide the gradients by the scale of the loss. After it they are those of the loss itself."""
        if self.scaler.is_enabled():
            assert self.optimizer is not None
            self.scaler.unscale_(self.optimizer)

    def apply(self, loss: Tensor, *, max_norm: float, max_value: float) -> tuple[Tensor, Tensor]:
        """Clip the unscaled gradients and let the optimizer step, unless loss or gradients are not finite.

        Args:
            loss: Of the step, ().

        Returns:
            1 if they are not finite, else 0, and the norm of the gradients before clipping to it; both (), on the device.
        """
        assert self.optimizer is not None
        if max_value < inf:
            clip_grad_value_(self.parameters, max_value)
        norm = clip_gradients(self.gradients(), max_norm)
        if self.scaler.is_enabled():
            return self._apply_scaled(self.optimizer, loss, norm), norm
        bad = self.watch.see(loss, norm)
        with self.optimizer_errors:
            step_unless(bad, self.optimizer, self.parameters)
        return bad, norm

    def _apply_scaled(self, optimizer: Optimizer, loss: Tensor, norm: Tensor) -> Tensor:
        """Step with a scaled loss. Gradients that overflow are not bad: the scaler leaves out the step and lowers the scale."""
        (overflow,) = self.scaler._found_inf_per_device(optimizer).values()  # 1 where `unscale` found a non-finite gradient
        bad = self.watch.see(loss, torch.where(overflow > 0, 0.0, norm))
        torch.maximum(overflow, bad, out=overflow)
        with self.optimizer_errors:
            self.scaler.step(optimizer)
        self.scaler.update()
        return bad

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": read_plain_state(self.optimizer, self.optimizer_errors.name),
            "scheduler": read_state(self.scheduler),
            "schedule": self._fingerprint(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises:
        CheckpointError: The state belongs to another optimizer or schedule.
        """
        if self.optimizer is not None:
            load_part("optimizer", partial(load_optimizer, self.optimizer), state["optimizer"])
        load_part("scheduler", partial(load_state, self.scheduler), state["scheduler"])
        fingerprint = self._fingerprint()
        if not is_alike(fingerprint, state["schedule"]) or state["schedule"] != fingerprint:
            raise CheckpointError(
                "the learning-rate schedule differs from the checkpoint's; resume with the settings it was made with"
            )
        if self.scaler.is_enabled():
            load_part("loss scaling", self.scaler.load_state_dict, state["scaler"])

    def _fingerprint(self) -> list[float]:
        """The schedule at a few steps: enough to notice that it is another one. A schedule that follows the scores has its
        own state.
        """
        return [] if hasattr(self.scheduler, "observe") else [self.scheduler(step) for step in (0, 1, 10, 100, 1_000, 10_000)]


def clip_gradients(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Scale gradients down, in place, to a norm of at most `max_norm`, and return their norm before, (), on the device.

    As `torch.nn.utils.clip_grad_norm_`, whose bookkeeping costs more than the kernels where networks are small. All on one device.
    Source: Pascanu et al. 2013, algorithm 1, arXiv:1211.5063
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if max_norm < inf:
        eps, limit = constant(1e-6, norm.dtype, norm.device), constant(max_norm, norm.dtype, norm.device)
        torch._foreach_mul_(gradients, (norm + eps).reciprocal_().mul_(limit).clamp_max_(1.0))
    return norm


@lru_cache(maxsize=64)
def constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number as a tensor, (): torch makes a new tensor of a Python number in each operation, for 2 microseconds."""
    return torch.tensor(value, dtype=dtype, device=device)


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    elif "momentum" in group:
        group["momentum"] = momentum
