"""Window minima, maxima and sums over squares of any width, at a cost that grows with the logarithm of the width.

Two shifted copies of the minima over windows of n pixels give those over up to 2n pixels, so a window of 121 pixels takes
7 minima per direction where a pool takes 121. Nothing is approximated.

Beyond the edge there is nothing: windows are cut there. For minima and maxima that equals repeating the outermost pixel.
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
    """Minimum over the `size` (odd) pixels centerd on each, along rows or columns. (..., H, W) in and out."""
    x = pad_dimension(x, size // 2, dim, math.inf)
    width = 1  # pixels that each value covers so far
    while width < size:
        shift = min(width, size - width)
        count = x.shape[dim] - shift
        x = torch.minimum(x.narrow(dim, 0, count), x.narrow(dim, shift, count))
        width += shift
    return x


def compute_window_sum(x: Tensor, size: int, dim: int) -> Tensor:
    """Sum over the `size` (odd) pixels centerd on each, along rows or columns. (..., H, W) in and out.

    Unlike minima, sums must not overlap: the window is put together of the powers of two in `size`.
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
    """Minimum over squares of `size` pixels."""
    return compute_window_minimum(compute_window_minimum(x, size, ROWS), size, COLUMNS)


def dilate(x: Tensor, size: int) -> Tensor:
    """Maximum over squares of `size` pixels."""
    return -erode(-x, size)


def open_surface(x: Tensor, valid: Tensor, size: int) -> Tensor:
    """Gray opening by squares of `size` (odd) pixels centerd on valid ones, in which invalid pixels take no part.

    Args:
        x: (B, 1, H, W).
        valid: Pixels that count, (B, 1, H, W).

    Returns:
        (B, 1, H, W); finite wherever `valid`, and there never above `x`. -inf where none of these squares reaches.

    Source: Serra 1982, Image Analysis and Mathematical Morphology, chapter II.
    """
    low = erode(torch.where(valid, x, math.inf), size)
    # A square centerd outside the survey sees a corner of it, perhaps all canopy: the edge of the survey is an edge of the raster.
    return dilate(torch.where(valid, low, -math.inf), size)


def compute_local_mean(x: Tensor, valid: Tensor, size: int) -> Tensor:
    """Mean over the valid pixels of the square of `size` (odd) pixels around each; 0 where there is none. (B, 1, H, W)."""
    weight, x = valid.to(x.dtype), torch.where(valid, x, 0.0)
    # Large elevations would drown the decimals of long sums, so sums start from the tile's own mean.
    anchor = (x * weight).sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True).clamp(min=1)
    pixels = compute_window_sum(compute_window_sum(weight, size, ROWS), size, COLUMNS)
    total = compute_window_sum(compute_window_sum((x - anchor) * weight, size, ROWS), size, COLUMNS)
    return torch.where(pixels > 0, anchor + total / pixels.clamp(min=1), 0.0)
