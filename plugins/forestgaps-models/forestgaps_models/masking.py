"""Masks that exclude pixels without data from all results.

Pixels without data are treated like pixels beyond the edge of a tile. A convolution reads 0 beyond the edge, so layers with
neighborhoods read 0 at pixels without data, and layers that interpolate read values extrapolated from valid neighbors.
Therefore, for any weights, neither the fill value of invalid pixels nor the padding affects the result at a valid pixel.

A mask is bool, (B, 1, H, W), True where a pixel, or at least one pixel of a cell, has data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad


def mask_features(x: Tensor, valid: Tensor) -> Tensor:
    """Return features (B, C, H, W) that are 0 without data. Overwrites `x` if gradients are disabled.

    The in-place product takes a tenth of the time of a new tensor. It also works for 8-bit codes: the code of 0 is 0 after a ReLU.
    """
    return x * valid if torch.is_grad_enabled() else x.mul_(valid)


def halve_mask(valid: Tensor) -> Tensor:
    """Return the mask of cells of 2 x 2 pixels. Height and width must be even."""
    return max_pool2d(valid.float(), 2) > 0


def mask_pyramid(valid: Tensor, halvings: int) -> list[Tensor]:
    """Return 1 + `halvings` masks, from the full resolution to the coarsest."""
    masks = [valid]
    for _ in range(halvings):
        masks.append(halve_mask(masks[-1]))
    return masks


def enlarge(cells: Tensor, valid: Tensor, factor: int) -> Tensor:
    """Return cells (B, C, h, w) interpolated bilinearly to `factor` times their size, from valid cells only.

    Cells without data and cells beyond the edge get the mean of the valid cells among their eight neighbors. Only the pixels of
    valid cells have meaningful values.
    """
    ring = (1, 1, 1, 1)
    inside = pad(valid, ring)
    weight = inside.to(cells.dtype)
    values = pad(torch.where(valid, cells, 0.0), ring)
    around = avg_pool2d(values, 3, 1, 1) / avg_pool2d(weight, 3, 1, 1).clamp(min=1 / 9)
    whole = interpolate(torch.where(inside, values, around), scale_factor=factor, mode="bilinear", align_corners=False)
    return whole[..., factor:-factor, factor:-factor]
