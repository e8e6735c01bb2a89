"""Ground estimates of classical filters, as input of a network that learns their weights.

Each estimate is a morphological opening on cells with the elevation of their lowest pixel. A narrow window follows the terrain
but includes wide crowns; a wide window removes crowns but also ridges. Some openings are of the surface above its trend, which
removes the effect of slopes. Where estimates agree and many cells are near them, the ground is visible. Where wider windows
give lower estimates, it is not.

A cell without data is treated like a cell beyond the edge of the tile: no mean, minimum or interpolation reads it, and its
channels are 0.

Nothing here is learned, and there are no gradients. The estimates of a cell depend on the surface within `reach_m`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, pad, pixel_unshuffle

from forestgaps_models.ground import TRUNCATE, choose_cell_pixels, find_block_minima, round_up_to_odd, smooth
from forestgaps_models.masking import enlarge, mask_features
from forestgaps_models.morphology import open_surface

FINE_M = 2.0  # width of the cells that resolve single crowns; cells of the estimates are twice as wide
TREND_M = 20.0  # standard deviation of the Gaussian that computes the trend of the surface
NEAR_M = 1.0  # a cell within this distance of an estimate supports it
SUPPORT_CELLS = 5  # width of the square in which the fraction of supporting cells is computed
SMOOTH_M = 8.0  # standard deviation of the Gaussian over an estimate above the trend
LAST_TREND_M = 16.0  # standard deviation of the Gaussian that makes an estimate the trend of the last one
LAST_WINDOW_M = 60.0  # window of the last estimate
SCALE_M = 10.0  # meters per unit of the channels


class GroundCandidates(nn.Module):
    """Maps (dsm, valid) to input channels of a network, ground estimates, and the mask of cells with data.

    Args:
        openings_m: Windows of the openings of the surface, in meters.
        over_trend_m: Windows of the openings of the surface above its trend, in meters. The middle one is the reference of all
            channels, and also the trend of one more estimate.

    Attributes:
        fine, coarse: Width of the two kinds of cells, in pixels.
        count: Number of estimates.
        channel_count: Number of channels.
    """

    def __init__(self, openings_m: Sequence[float], over_trend_m: Sequence[float], resolution_m: float) -> None:
        super().__init__()
        self.resolution_m = resolution_m
        self.fine = choose_cell_pixels(FINE_M, resolution_m)
        self.coarse = 2 * self.fine
        self.cell_m = self.coarse * resolution_m
        self.openings_m, self.over_trend_m = tuple(openings_m), tuple(over_trend_m)
        self.count = len(self.openings_m) + len(self.over_trend_m) + 1
        self.shown_against = len(self.openings_m) + len(self.over_trend_m) // 2
        self.supported = (len(self.openings_m) // 2, self.shown_against, self.count - 1)
        self.channel_count = 4 * 3 + (self.count - 1) + 1 + len(self.supported) + 1

    def extra_repr(self) -> str:
        return f"{self.resolution_m:g} m, openings {self.openings_m}, over trend {self.over_trend_m}"

    @property
    def reach_m(self) -> float:
        """Return the largest distance at which a pixel affects an estimate, in meters: windows plus tails of the Gaussians."""
        over_trend = TRUNCATE * (TREND_M + SMOOTH_M) + max(self.over_trend_m)
        last = over_trend + TRUNCATE * (LAST_TREND_M + SMOOTH_M) + LAST_WINDOW_M
        return float(max(last, max(self.openings_m) + TRUNCATE * SCALE_M) + SUPPORT_CELLS * self.cell_m)

    @torch.no_grad()
    def forward(self, dsm: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return channels (B, `channel_count`, h, w) and estimates in meters (B, `count`, h, w), float32, and a mask (B, 1, h, w).

        H and W are multiples of `coarse`; h and w are H and W divided by it.
        """
        # Near 2,000 m, neighboring numbers in bf16 differ by 8 m.
        with torch.autocast(dsm.device.type, enabled=False):
            return self.compute_candidates(dsm.float(), valid)

    def compute_candidates(self, surface: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        covered = avg_pool2d(valid.float(), self.coarse)
        valid_cells = covered > 0
        mean = avg_pool2d(torch.where(valid, surface, 0.0), self.coarse) / covered.clamp(min=1e-6)
        trend = smooth(mean, valid_cells, TREND_M / self.cell_m)
        over_trend = surface - enlarge(trend, valid_cells, self.coarse)

        low, fine_known = find_block_minima(surface, valid, self.fine)
        high = -find_block_minima(-surface, valid, self.fine)[0]
        lowest = pool_minima(low, fine_known)
        lowest_over_trend = pool_minima(find_block_minima(over_trend, valid, self.fine)[0], fine_known)
        estimates = [
            self.opening(lowest, valid_cells, width, smooth_m=min(SCALE_M, max(width / 4, self.cell_m)))
            for width in self.openings_m
        ]
        estimates += [trend + self.opening(lowest_over_trend, valid_cells, width, smooth_m=SMOOTH_M) for width in self.over_trend_m]
        last_trend = smooth(estimates[self.shown_against], valid_cells, LAST_TREND_M / self.cell_m)
        estimates.append(last_trend + self.opening(lowest - last_trend, valid_cells, LAST_WINDOW_M, smooth_m=SMOOTH_M))
        grounds = torch.cat(estimates, dim=1)

        base = grounds[:, self.shown_against, None]
        others = [number for number in range(self.count) if number != self.shown_against]
        at_fine = enlarge(base, valid_cells, 2)
        heights = torch.cat([low - at_fine, high - low], dim=1) / SCALE_M
        channels = [
            pixel_unshuffle(torch.cat([torch.where(fine_known, heights, 0.0), fine_known.float()], dim=1), 2),
            (grounds[:, others] - base) / SCALE_M,
            (mean - trend) / SCALE_M,
            compute_support(lowest, grounds[:, self.supported], valid_cells),
            compute_slope(trend, valid_cells, self.cell_m),
        ]
        return mask_features(torch.cat(channels, dim=1), valid_cells), grounds, valid_cells

    def opening(self, cells: Tensor, valid_cells: Tensor, width_m: float, *, smooth_m: float) -> Tensor:
        """Return the smoothed opening of the valid cells by a square of the given width."""
        low = torch.where(valid_cells, open_surface(cells, valid_cells, round_up_to_odd(width_m, self.cell_m)), 0.0)
        return smooth(low, valid_cells, smooth_m / self.cell_m)


def pool_minima(cells: Tensor, valid_cells: Tensor) -> Tensor:
    """Return the minimum over the valid cells of each 2x2 block; 0 in blocks without valid cells."""
    minima = -max_pool2d(torch.where(valid_cells, -cells, -math.inf), 2)
    return torch.where(minima.isfinite(), minima, 0.0)


def compute_support(lowest: Tensor, grounds: Tensor, valid_cells: Tensor) -> Tensor:
    """Return the fraction of valid cells around each cell that are within `NEAR_M` of each ground estimate, 0 to 1."""
    near = ((lowest - grounds < NEAR_M) & valid_cells).float()
    margin = SUPPORT_CELLS // 2
    share = avg_pool2d(near, SUPPORT_CELLS, 1, margin)
    return share / avg_pool2d(valid_cells.float(), SUPPORT_CELLS, 1, margin).clamp(min=1 / SUPPORT_CELLS**2)


def compute_slope(trend: Tensor, valid_cells: Tensor, cell_m: float) -> Tensor:
    """Return the slope of the trend as a ratio. A neighbor without data has the height of the cell itself."""
    rows, columns = trend.shape[-2:]
    edged, inside = pad(trend, (1, 1, 1, 1)), pad(valid_cells, (1, 1, 1, 1))

    def beside(row: int, column: int) -> Tensor:
        place = (..., slice(row, row + rows), slice(column, column + columns))
        return torch.where(inside[place], edged[place], trend)

    down = (beside(2, 1) - beside(0, 1)) / (2 * cell_m)
    across = (beside(1, 2) - beside(1, 0)) / (2 * cell_m)
    return (down.square() + across.square()).sqrt()
