"""Focal and Dice loss with a gradient in closed form: about a third of the time of the same formulas through autograd.

With x the logit, y the target, p = sigmoid(x), q = 1 - p, m the pixel weight and n = sum(m), the value of a channel is

    focal = -sum(m (y q^f log p + (1 - y) p^f log q)) / n                        f is gamma
    dice  = 1 - N / D,    N = 2 sum(m p y) + s n,    D = sum(m p) + sum(m y) + s n    s is eps

and its derivative at a pixel is

    d focal / dx = m (y q^f (f p log p - q) - (1 - y) p^f (f q log q - p)) / n
    d dice / dx  = m p q (N / D^2 - 2 y / D).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.autograd.function import once_differentiable

# Number of pixels from which channels are computed one by one on a CPU: the temporaries of one, 256 KiB each for 256 x 256 pixels,
# stay in the cache, while those of a whole batch stream through memory at each operation. Otherwise all channels are computed at
# once.
LARGE_CHANNEL = 1 << 14


@frozen
class FocalDiceSettings:
    """See `focal_dice_loss`."""

    gamma: float
    eps: float
    focal_weight: float
    dice_weight: float


class FocalDiceFunction(torch.autograd.Function):
    """Values of the channels, (B, K), from logits and targets (B, K, H, W) and pixel weights (B, 1 or K, H, W)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, pixel_weights: Tensor, settings: FocalDiceSettings) -> Tensor:
        x, y = logits.flatten(2).contiguous(), target.flatten(2)
        m = pixel_weights.flatten(2).expand_as(x)
        values = x.new_empty(x.shape[:2])
        slopes = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for part in iterate_parts(x):
            values[part] = compute_focal_dice(x[part], y[part], m[part], settings, None if slopes is None else slopes[part])
        if slopes is not None:
            ctx.save_for_backward(slopes.view(logits.shape))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradient[..., None, None], None, None, None


def iterate_parts(x: Tensor) -> Iterator[Any]:
    """Yield the indices of the channels (B, K, pixels) that are computed together."""
    if x.device.type == "cpu" and x.shape[2] >= LARGE_CHANNEL:
        yield from ((sample, channel) for sample in range(x.shape[0]) for channel in range(x.shape[1]))
    else:
        yield ...


def compute_focal_dice(x: Tensor, y: Tensor, m: Tensor, settings: FocalDiceSettings, slopes: Tensor | None) -> Tensor:
    """Return the values (...) of channels (..., pixels), and write their gradient to `slopes` if it is given.

    Every second operation is in place, to keep the data in the cache. Formulas: see the module.
    """
    f = settings.gamma
    n = m.sum(-1, keepdim=True)
    n = torch.where(n > 0, n, 1)
    log_sum = torch.abs(x).neg_().exp_().add_(1).log_()  # log(p + q) over the larger of the two: never overflows
    log_p = torch.clamp(x, max=0).sub_(log_sum)
    log_q = torch.sub(log_p, x, out=log_sum)
    p = torch.exp(log_p)
    q = 1 - p
    gap_factor, canopy_factor = q.pow(f), p.pow(f)
    gap_term, canopy_term = log_p.mul_(gap_factor), log_q.mul_(canopy_factor)
    cost = torch.sub(gap_term, canopy_term).mul_(y).add_(canopy_term).mul_(m)
    focal = cost.sum(-1, keepdim=True) / -n
    weighted = torch.mul(p, m, out=cost)
    predicted = weighted.sum(-1, keepdim=True)
    overlap = weighted.mul_(y).sum(-1, keepdim=True)
    reference = torch.mul(m, y, out=cost).sum(-1, keepdim=True)
    numerator, size = 2 * overlap + settings.eps * n, predicted + reference + settings.eps * n
    if slopes is not None:
        gap_term.mul_(p).mul_(f).addcmul_(gap_factor, q, value=-1)
        canopy_term.mul_(q).mul_(-f).addcmul_(canopy_factor, p)
        focal_slope = gap_term.sub_(canopy_term).mul_(y).add_(canopy_term).mul_(settings.focal_weight / n)
        dice_slope = torch.mul(y, -2 * settings.dice_weight / size, out=cost).add_(settings.dice_weight * numerator / size**2)
        torch.mul(dice_slope.mul_(p).mul_(q).add_(focal_slope), m, out=slopes)
    return (settings.focal_weight * focal + settings.dice_weight * (1 - numerator / size)).squeeze(-1)
