"""Masks that keep pixels without data out of every answer.

A pixel without data and a pixel beyond the edge of a tile are the same thing: nothing is known there. A convolution reads 0 beyond
the edge, so every layer that looks at neighbors is given 0 where there is no data, and a layer that interpolates reads cells made
of known neighbors in both places. What fills the invalid pixels, how wide the padding is and on which side it lies then cannot
reach a valid pixel: that holds for any weights.

A mask is bool, (B, 1, H, W), True where a pixel, or at least one pixel of a cell, has data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad


def mask_features(x: Tensor, known: Tensor) -> Tensor:
    """Return features (B, C, H, W) that are 0 where nothing is known. Overwrites `x` where no gradient is asked.

    In place it costs a tenth of a new tensor. Codes of 8 bits pass too: 0 is the code of 0 after a ReLU.
    """
    return x * known if torch.is_grad_enabled() else x.mul_(known)


def halve_mask(known: Tensor) -> Tensor:
    """Return the mask of cells of 2 x 2 pixels; height and width are even."""
    return max_pool2d(known.float(), 2) > 0


def mask_pyramid(known: Tensor, halvings: int) -> list[Tensor]:
    """Return the masks from full size down, 1 + `halvings` of them."""
    masks = [known]
    for _ in range(halvings):
        masks.append(halve_mask(masks[-1]))
    return masks


def enlarge(cells: Tensor, known: Tensor, factor: int) -> Tensor:
    """Return cells (B, C, h, w) interpolated bilinearly to `factor` times their size, from known cells alone.

    A cell beside the known ones, beyond the edge or without data, takes the mean of the known ones among its eight neighbors.
    The result holds where pixels of known cells are; elsewhere it means nothing.
    """
    ring = (1, 1, 1, 1)
    inside = pad(known, ring)
    weight = inside.to(cells.dtype)
    values = pad(torch.where(known, cells, 0.0), ring)
    around = avg_pool2d(values, 3, 1, 1) / avg_pool2d(weight, 3, 1, 1).clamp(min=1 / 9)
    whole = interpolate(torch.where(inside, values, around), scale_factor=factor, mode="bilinear", align_corners=False)
    return whole[..., factor:-factor, factor:-factor]
