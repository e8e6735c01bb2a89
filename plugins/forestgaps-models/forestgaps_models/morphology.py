"""Window minima, maxima and sums over squares of any width, at a cost that grows with the logarithm of the width.

The minimum of two shifted copies of the minima over n pixels gives the minima over up to 2n pixels. A window of 121 pixels needs
7 minima per direction, where a pool needs 121. The results are exact.

Windows are truncated at the edge. For minima and maxima, this equals repeating the outermost pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

ROWS, COLUMNS = -2, -1


def pad_dimension(x: Tensor, margin: int, dim: int, value: float) -> Tensor:
    return pad(x, (margin, margin) if dim == COLUMNS else (0, 0, margin, margin), value=value)


def compute_window_minimum(x: Tensor, size: int, dim: int) -> Tensor:
    """Return the minimum over the `size` (odd) pixels centered on each, along rows or columns, (..., H, W)."""
    x = pad_dimension(x, size // 2, dim, math.inf)
    width = 1  # number of pixels that each value covers so far
    while width < size:
        shift = min(width, size - width)
        count = x.shape[dim] - shift
        x = torch.minimum(x.narrow(dim, 0, count), x.narrow(dim, shift, count))
        width += shift
    return x


def compute_window_sum(x: Tensor, size: int, dim: int) -> Tensor:
    """Return the sum over the `size` (odd) pixels centered on each, along rows or columns, (..., H, W).

    Unlike minima, sums must not overlap, so the window is composed of the powers of two in `size`.
    """
    count = x.shape[dim]
    piece = pad_dimension(x, size // 2, dim, 0.0)
    total, start, width = torch.zeros_like(x), 0, 1
    while width <= size:
        if size & width:
            total = total + piece.narrow(dim, start, count)
            start += width
        if 2 * width <= size:
            overlap = piece.shape[dim] - width
            piece = piece.narrow(dim, 0, overlap) + piece.narrow(dim, width, overlap)
        width *= 2
    return total


def erode(x: Tensor, size: int) -> Tensor:
    """Return the minimum over squares of `size` pixels."""
    return compute_window_minimum(compute_window_minimum(x, size, ROWS), size, COLUMNS)


def dilate(x: Tensor, size: int) -> Tensor:
    """Return the maximum over squares of `size` pixels."""
    return -erode(-x, size)


def open_surface(x: Tensor, valid: Tensor, size: int) -> Tensor:
    """Return the gray opening by squares of `size` (odd) pixels centered on valid pixels; invalid pixels are ignored.

    Args:
        x: (B, 1, H, W).
        valid: False for pixels to ignore, (B, 1, H, W).

    Returns:
        (B, 1, H, W); finite and at most `x` at valid pixels; -inf outside all squares.

    Source: Serra 1982, Image Analysis and Mathematical Morphology, chapter II.
    """
    low = erode(torch.where(valid, x, math.inf), size)
    # Squares centered outside the survey contain only a corner of it, perhaps all canopy, so they are not used.
    return dilate(torch.where(valid, low, -math.inf), size)


def compute_local_mean(x: Tensor, valid: Tensor, size: int) -> Tensor:
    """Return the mean over the valid pixels in the square of `size` (odd) pixels around each; 0 without any, (B, 1, H, W)."""
    weight, x = valid.to(x.dtype), torch.where(valid, x, 0.0)
    # Relative to the mean of the tile, because long sums of large elevations would lose precision.
    anchor = (x * weight).sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True).clamp(min=1)
    pixels = compute_window_sum(compute_window_sum(weight, size, ROWS), size, COLUMNS)
    total = compute_window_sum(compute_window_sum((x - anchor) * weight, size, ROWS), size, COLUMNS)
    return torch.where(pixels > 0, anchor + total / pixels.clamp(min=1), 0.0)
