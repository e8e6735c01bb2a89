"""Counts of predicted and reference gap pixels, computed on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.components import Batch

WORD = 8  # booleans in an int64
WORDS = 128  # words in one sum: at most 255, the largest count that a byte can hold


def compute_masks(logits: Tensor, batch: Batch, decision_threshold: float) -> tuple[Tensor, Tensor]:
    """Return the predicted and the reference gap, (B, K, H, W) bool, both False where the survey has no data."""
    decision_logit = math.log(decision_threshold / (1 - decision_threshold))
    return (logits > decision_logit) & batch.valid, (batch.target > 0.5) & batch.valid


def count_pixels(mask: Tensor) -> Tensor:
    """Return the number of True pixels per threshold: (B, K, H, W) bool to (K,) int64.

    Eight booleans are added as one 64-bit word, each in its own byte, 128 words at a time so that no byte overflows. On a CPU this
    is 3 to 4 times as fast as a sum of booleans, which converts each to 64 bits first.
    """
    flat = mask.flatten(2)
    flat = pad(flat, (0, -flat.shape[2] % (WORD * WORDS))).contiguous()
    words = flat.view(torch.int64).view(*flat.shape[:2], -1, WORDS).sum(3)
    return words.view(torch.uint8).sum((0, 2), dtype=torch.int64)


def count_confusion(logits: Tensor, batch: Batch, decision_threshold: float) -> Tensor:
    """Return the confusion matrix per threshold: (K, 4) int64, in the order tp, fp, fn, tn, where gap is positive.

    Args:
        logits: (B, K, H, W).
        batch: Pixels outside `valid` are not counted.
        decision_threshold: A pixel is predicted gap above it, 0 to 1.
    """
    predicted, reference = compute_masks(logits, batch, decision_threshold)
    both, positive, gap = count_pixels(predicted & reference), count_pixels(predicted), count_pixels(reference)
    valid = count_pixels(batch.valid)
    return torch.stack([both, positive - both, gap - both, valid - positive - gap + both], 1)
