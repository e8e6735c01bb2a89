"""Batch norm over the batches of all processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, distributed, nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field, momentum_field


def is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; the gradient of each summand is the sum of the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def sum_over_processes(x: Tensor) -> Tensor:
    summed: Tensor = SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]  # torch gives apply no types
    return summed


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` that also trains on the CPU, which the layer of torch does not.

    On a GPU, it is the layer of torch. Its state is that of `nn.BatchNorm2d`, so a single process can load it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cpu and self.training and is_distributed()):
            result: Tensor = super().forward(x)
            return result
        values = x.float()
        count = sum_over_processes(values.new_full((1,), x.numel() / x.shape[1]))
        mean = sum_over_processes(values.sum((0, 2, 3))) / count
        centered = values - mean[:, None, None]
        # A second message instead of the mean of squares, which loses precision for channels with a large mean.
        variance = sum_over_processes(centered.square().sum((0, 2, 3))) / count
        self.update_running_averages(mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
        y = centered * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.weight is not None:
            y = y * self.weight[:, None, None]
        if self.bias is not None:
            y = y + self.bias[:, None, None]
        return y.to(x.dtype)

    @torch.no_grad()
    def update_running_averages(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running averages with the statistics of the batch."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def sync_batch_norm(channels: int, *, momentum: float, eps: float) -> nn.Module:
    """Return the layer; in a single process, a batch norm."""
    if is_distributed():
        return SyncBatchNorm2d(channels, momentum=momentum, eps=eps)
    return nn.BatchNorm2d(channels, momentum=momentum, eps=eps)


@frozen(kw_only=True)
class SyncBatchNormConfig:
    """Batch norm with mean and variance over the batches of all processes; in a single process, `batch`.

    For several processes with few samples each. It sends a few small messages per layer in the forward and backward pass. The
    process group must exist before the network is built, as with `torchrun`.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, mean and variance of x (B, C, H, W) over B, H, W of all processes.

    Source: Ioffe & Szegedy 2015, algorithm 1, arXiv:1502.03167; over devices as in Peng et al. 2018, section 3.3, arXiv:1711.07240
    """

    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(sync_batch_norm, momentum=self.momentum, eps=self.eps)
