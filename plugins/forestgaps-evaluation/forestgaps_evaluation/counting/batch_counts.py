"""Counts of a batch, as whole numbers on its device, so that a pass synchronizes with the device once."""

from __future__ import annotations

import torch
from torch import Tensor

from forestgaps_core.components import Batch

PROBABILITY_CLASSES = 100  # equal parts of probability
PROBABILITY_UNIT = 2**20  # parts of 1; float64 is exact for sums over 8.6e9 pixels of a class
HEIGHT_UNIT = 1000  # millimeters
CANOPY_M = 2.0  # canopy cover is the fraction of ground under canopy of at least this height


def count_confusion(probability: Tensor, batch: Batch) -> Tensor:
    """Return valid pixels of each tile that are tp, fp, fn, tn, (B, K, 4) int64. Predicted gap is above 0.5."""
    predicted, observed = probability > 0.5, batch.target > 0.5
    sides = (predicted & observed, predicted & ~observed, ~predicted & observed, ~predicted & ~observed)
    return torch.stack([(side & batch.valid).sum((2, 3)) for side in sides], dim=2)


def count_by_probability(probability: Tensor, batch: Batch) -> Tensor:
    """(K, CLASSES, 3) int64: canopy pixels, gap pixels, and the sum of their probabilities in 1 / PROBABILITY_UNIT.

    Class n holds probabilities above n / CLASSES and up to (n + 1) / CLASSES; 0 is in the first. So "more than a cut" is a sum
    of whole classes.
    """
    place = (
        ((probability * PROBABILITY_CLASSES).ceil().long() - 1)
        .clamp(0, PROBABILITY_CLASSES - 1)
        .masked_fill(~batch.valid, PROBABILITY_CLASSES)
    )
    amount = (probability * PROBABILITY_UNIT).round().long()
    gap = (batch.target > 0.5).long()
    planes = []
    for values in (1 - gap, gap, amount):
        # One row per channel and tile. Unlike bincount, this does not synchronize with the device.
        rows = torch.zeros((*place.shape[:2], PROBABILITY_CLASSES + 1), dtype=torch.int64, device=place.device)
        planes.append(rows.scatter_add_(2, place.flatten(2), values.flatten(2)).sum(0)[:, :PROBABILITY_CLASSES])
    return torch.stack(planes, dim=2)


def choose_cell_grid(rows: int, columns: int, cell_px: float) -> tuple[int, int]:
    """Return rows and columns of cells in a tile, with sides as close to `cell_px` pixels as possible."""
    return max(1, round(rows / cell_px)), max(1, round(columns / cell_px))


def sum_cells(mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the True pixels of each cell, (B, C, H, W) to (B, C, cells) int64. Pixels outside of whole cells are left out."""
    rows, columns = shape
    high, wide = mask.shape[-2] // rows, mask.shape[-1] // columns
    whole = mask[..., : rows * high, : columns * wide]
    return whole.reshape(*mask.shape[:2], rows, high, columns, wide).sum((3, 5)).flatten(2)


def count_cells(probability: Tensor, batch: Batch, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return valid pixels of each cell, (B, C) int64, and gap pixels, predicted and observed, (B, C, K, 2) int64."""
    valid = sum_cells(batch.valid, shape)[:, 0]
    sides = [sum_cells(side & batch.valid, shape).transpose(1, 2) for side in (probability > 0.5, batch.target > 0.5)]
    return valid, torch.stack(sides, dim=3)


def count_canopy(batch: Batch) -> Tensor:
    """Return the valid pixels with canopy of at least `CANOPY_M`, (B,) int64."""
    assert batch.height is not None
    return ((batch.height >= CANOPY_M) & batch.valid).sum((1, 2, 3))


def sum_height_errors(predicted: Tensor, batch: Batch) -> Tensor:
    """Return sums over valid pixels of the error, its absolute value and its square, (B, 3) int64, in millimeters."""
    assert batch.height is not None
    error = torch.where(batch.valid, ((predicted.float() - batch.height) * HEIGHT_UNIT).round(), 0.0).long()
    return torch.stack([part.sum((1, 2, 3)) for part in (error, error.abs(), error.square())], dim=1)
