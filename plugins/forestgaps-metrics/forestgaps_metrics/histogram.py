"""Sums by class of pixel, per threshold, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def sums_by_class(classes: Tensor, valid: Tensor, count: int, values: Tensor | None = None) -> Tensor:
    """Pixels of each class, or the sum of their `values`: (K, count) int64.

    Args:
        classes: (B, K, H, W) int64 in 0..count - 1.
        valid: (B, 1, H, W) bool; other pixels are left out.
        count: How many classes there are.
        values: (B, K, H, W) int64; 1 for each pixel by default.

    Each plane of each sample fills a row of its own. That keeps the atomic additions of a GPU apart, and unlike `bincount`
    it does not wait for the GPU to tell the largest class.
    """
    flat = classes.masked_fill(~valid, count).flatten(2)
    added = torch.ones((), dtype=torch.int64, device=flat.device).expand_as(flat) if values is None else values.flatten(2)
    rows = torch.zeros((*flat.shape[:2], count + 1), dtype=torch.int64, device=flat.device)
    return rows.scatter_add_(2, flat, added).sum(0)[:, :count]


def levels(share: Tensor, count: int) -> Tensor:
    """In which of `count` equal parts of 0..1 a share lies: int64 in 0..count - 1, 1 being in the last."""
    return (share * count).long().clamp_(0, count - 1)
