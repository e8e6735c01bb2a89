"""Ground estimates of two classical filters, from the surface alone.

The two filters have different errors. Both use coarse cells with the elevation of their lowest pixel:

- *opening*: the smoothed morphological opening by a square that is wider than a closed stand. Accurate where the ground is flat
  or often visible.
- *envelope*: a low percentile of the cells in a window, above the trend of the terrain, which removes the effect of slopes.
  Accurate on even slopes.

No estimate is above the surface. Nothing here is learned, and there are no gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad, unfold

from forestgaps_models.masking import enlarge
from forestgaps_models.morphology import open_surface

CELLS_M = (2.0, 4.0)  # width of the cells of the opening and of the envelope
ENVELOPE_REACH_M = 134.0  # one standard deviation of each Gaussian of the envelope plus half of its windows
TRUNCATE = 4.0  # Gaussians are truncated at this number of standard deviations


def round_up_to_odd(meters: float, cell_m: float) -> int:
    """Return a width as an odd number of cells, rounded up, at least 1."""
    cells = max(round(meters / cell_m), 1)
    return cells + 1 - cells % 2


def choose_cell_pixels(meters: float, resolution_m: float) -> int:
    """Return a width in pixels as the nearest power of two, at least 1.

    Powers of two give the same cells in all windows that start at multiples of the width.
    """
    return int(2 ** max(round(math.log2(meters / resolution_m)), 0))


def find_block_minima(surface: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the lowest valid pixel of each block of `size` x `size`, and whether it has valid pixels, (B, 1, h, w) each."""
    rows, columns = (-length % size for length in surface.shape[-2:])
    low = pad(torch.where(valid, surface, math.inf), (0, columns, 0, rows), value=math.inf)
    minima = -max_pool2d(-low, size)
    valid_cells = minima.isfinite()
    return torch.where(valid_cells, minima, 0.0), valid_cells


def smooth(cells: Tensor, valid_cells: Tensor, sigma: float) -> Tensor:
    """Return the Gaussian mean over the valid cells; the values of cells that are not valid have no meaning.

    Cells beyond the edge are not valid, so the edge of the tile has the same effect as the edge of the survey.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    place = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None, :]
    weight = valid_cells.to(cells.dtype)
    # Relative to the mean of each tile, because sums of elevations of thousands of meters would lose precision.
    anchor = (cells * weight).sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True).clamp(min=1)
    channels = torch.cat([(cells - anchor) * weight, weight]).contiguous()
    channels = pad(channels, (reach, reach, reach, reach))
    channels = conv2d(conv2d(channels, kernel), kernel.transpose(-1, -2))
    samples = cells.shape[0]
    total, count = channels[:samples], channels[samples:]  # a chunk would fix the number of samples when the network is exported
    return torch.where(count > 1e-6, anchor + total / count.clamp(min=1e-6), anchor)


def compute_low_percentile(cells: Tensor, valid_cells: Tensor, size: int, percentile: float) -> Tensor:
    """Return the percentile of the valid cells in the square of `size` (odd) around each; 0 without valid cells."""
    margin = size // 2
    far = torch.where(valid_cells, cells, math.inf)
    windows = unfold(pad(far, (margin,) * 4, value=math.inf), size).transpose(1, 2)  # (B, h * w, size * size)
    count = windows.isfinite().sum(-1, keepdim=True)
    rank = ((count - 1).clamp(min=0) * (percentile / 100)).round().long()
    most = round((size * size - 1) * percentile / 100) + 1  # no rank is above; the rest need not be sorted
    lowest = windows.contiguous().topk(most, dim=-1, largest=False).values
    low = lowest.gather(-1, rank).reshape(cells.shape)
    return torch.where(low.isfinite(), low, 0.0)


def interpolate_to_pixels(cells: Tensor, valid_cells: Tensor, size: int, surface: Tensor) -> Tensor:
    """Interpolate cells to the pixels of the surface, limited to the elevation of the surface."""
    rows, columns = surface.shape[-2:]
    whole = enlarge(cells, valid_cells, size)
    return torch.minimum(whole[..., :rows, :columns], surface)


@torch.no_grad()
def estimate_ground_by_opening(
    surface: Tensor,
    valid: Tensor,
    resolution_m: float,
    *,
    window_m: float = 40.0,
    smooth_m: float = 10.0,
    cell_m: float = CELLS_M[0],
) -> Tensor:
    """Return the smoothed opening of the lowest pixels of cells, in meters, (B, 1, H, W)."""
    size = choose_cell_pixels(cell_m, resolution_m)
    cell = size * resolution_m
    minima, valid_cells = find_block_minima(surface, valid, size)
    low = torch.where(valid_cells, open_surface(minima, valid_cells, round_up_to_odd(window_m, cell)), 0.0)
    return interpolate_to_pixels(smooth(low, valid_cells, smooth_m / cell), valid_cells, size, surface)


@torch.no_grad()
def estimate_ground_by_envelope(
    surface: Tensor,
    valid: Tensor,
    resolution_m: float,
    *,
    window_m: float = 60.0,
    percentile: float = 10.0,
    cell_m: float = CELLS_M[1],
    smooth_m: float = 15.0,
    trend_m: float = 40.0,
    passes: int = 2,
) -> Tensor:
    """Return a low percentile of the lowest pixels of cells above the trend of the terrain, in meters, (B, 1, H, W).

    The result of each pass is the trend of the next pass.
    """
    size = choose_cell_pixels(cell_m, resolution_m)
    cell = size * resolution_m
    minima, valid_cells = find_block_minima(surface, valid, size)
    trend = smooth(minima, valid_cells, trend_m / cell)
    for _ in range(passes):
        low = compute_low_percentile(minima - trend, valid_cells, round_up_to_odd(window_m, cell), percentile)
        trend = smooth(trend + low, valid_cells, smooth_m / cell)
    return interpolate_to_pixels(trend, valid_cells, size, surface)
