"""Sums per class of pixels and per threshold, without synchronizing with the device."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_by_class(classes: Tensor, valid: Tensor, count: int, values: Tensor | None = None) -> Tensor:
    """Return the number of pixels of each class, or the sum of their `values`: (K, count) int64.

    Each channel of each sample has its own row. This keeps the atomic additions of a GPU apart. Unlike `bincount`, it does not
    synchronize with the GPU to find the largest class.

    Args:
        classes: (B, K, H, W) int64 in 0..count - 1.
        valid: (B, 1, H, W) bool; other pixels are left out.
        count: Number of classes.
        values: (B, K, H, W) int64; 1 for each pixel by default.
    """
    flat = classes.masked_fill(~valid, count).flatten(2)
    added = torch.ones((), dtype=torch.int64, device=flat.device).expand_as(flat) if values is None else values.flatten(2)
    rows = torch.zeros((*flat.shape[:2], count + 1), dtype=torch.int64, device=flat.device)
    return rows.scatter_add_(2, flat, added).sum(0)[:, :count]


def find_bins(values: Tensor, count: int) -> Tensor:
    """Return the bin of each value in 0..1, of `count` equal bins: int64 in 0..count - 1; the value 1 is in the last."""
    return (values * count).long().clamp_(0, count - 1)
