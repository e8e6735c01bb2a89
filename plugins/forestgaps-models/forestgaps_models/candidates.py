"""Where the ground may be, guessed in many ways at once, for a network that learns which guess to trust where.

All guesses are openings: the surface with everything narrower than a window cut off, on cells that hold their lowest pixel.
A narrow window follows the terrain and mistakes wide crowns for ground; a wide one sees below them and cuts off ridges. Half of
them are made of the surface over its own trend, so that a slope is not taken for height. Where guesses agree, and where many
cells touch them, the ground shows; where wider windows keep finding lower ground, it does not.

A cell without any data is treated as one beyond the edge of the tile: no mean, minimum or interpolation reads it, and all that
is shown of it is 0.

Nothing here is learned, and no gradient passes. What a cell's guesses depend on ends at `reach_m` around it.
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

FINE_M = 2.0  # cells that show single crowns and the pits between them; two of them are a cell of the guesses
TREND_M = 20.0  # standard deviation of the Gaussian that leaves the trend of the surface
NEAR_M = 1.0  # a cell this near to a guess supports it
SUPPORT_CELLS = 5  # width of the square whose share of such cells is shown
SMOOTH_M = 8.0  # standard deviation of the Gaussian over a guess made over the trend
AGAIN_M = 16.0  # and over the guess that becomes the trend of the last one
WIDEST_OVER_GUESS_M = 60.0  # window of that one
SCALE_M = 10.0  # meters that become 1


class GroundCandidates(nn.Module):
    """(dsm, valid) to what a network should see, the guesses themselves, and which cells have data.

    Args:
        openings_m: Windows of the openings of the surface, meters.
        over_trend_m: Windows of the openings of the surface over its trend, meters. All channels are shown against the middle
            one, and one more guess is an opening of the surface over that.

    Attributes:
        fine, coarse: Pixels on a side of the two kinds of cells.
        count: Guesses.
        channels: Channels shown.
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
        """How far away a pixel can change a guess, meters: two erosions' widths and the tails of the Gaussians."""
        over_trend = TRUNCATE * (TREND_M + SMOOTH_M) + max(self.over_trend_m)
        over_guess = over_trend + TRUNCATE * (AGAIN_M + SMOOTH_M) + WIDEST_OVER_GUESS_M
        return float(max(over_guess, max(self.openings_m) + TRUNCATE * SCALE_M) + SUPPORT_CELLS * self.cell_m)

    @torch.no_grad()
    def forward(self, dsm: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return channels (B, `channel_count`, h, w), guesses (B, `count`, h, w) in meters, both float32, and a mask (B, 1, h, w).

        H and W are multiples of `coarse`; h and w are H and W over it.
        """
        # Elevations of 2,000 m leave 8 m between neighboring numbers in bf16.
        with torch.autocast(dsm.device.type, enabled=False):
            return self.compute_candidates(dsm.float(), valid)

    def compute_candidates(self, surface: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        covered = avg_pool2d(valid.float(), self.coarse)
        known = covered > 0
        mean = avg_pool2d(torch.where(valid, surface, 0.0), self.coarse) / covered.clamp(min=1e-6)
        trend = smooth(mean, known, TREND_M / self.cell_m)
        over_trend = surface - enlarge(trend, known, self.coarse)

        low, fine_known = find_block_minima(surface, valid, self.fine)
        high = -find_block_minima(-surface, valid, self.fine)[0]
        lowest = pool_minima(low, fine_known)
        lowest_over_trend = pool_minima(find_block_minima(over_trend, valid, self.fine)[0], fine_known)
        guesses = [
            self.opening(lowest, known, width, smooth_m=min(SCALE_M, max(width / 4, self.cell_m))) for width in self.openings_m
        ]
        guesses += [trend + self.opening(lowest_over_trend, known, width, smooth_m=SMOOTH_M) for width in self.over_trend_m]
        guess = smooth(guesses[self.shown_against], known, AGAIN_M / self.cell_m)
        guesses.append(guess + self.opening(lowest - guess, known, WIDEST_OVER_GUESS_M, smooth_m=SMOOTH_M))
        grounds = torch.cat(guesses, dim=1)

        base = grounds[:, self.shown_against, None]
        others = [number for number in range(self.count) if number != self.shown_against]
        at_fine = enlarge(base, known, 2)
        heights = torch.cat([low - at_fine, high - low], dim=1) / SCALE_M
        channels = [
            pixel_unshuffle(torch.cat([torch.where(fine_known, heights, 0.0), fine_known.float()], dim=1), 2),
            (grounds[:, others] - base) / SCALE_M,
            (mean - trend) / SCALE_M,
            support(lowest, grounds[:, self.supported], known),
            compute_slope(trend, known, self.cell_m),
        ]
        return mask_features(torch.cat(channels, dim=1), known), grounds, known

    def opening(self, cells: Tensor, known: Tensor, width_m: float, *, smooth_m: float) -> Tensor:
        """Opening of known cells by a square so wide, smoothed."""
        low = torch.where(known, open_surface(cells, known, round_up_to_odd(width_m, self.cell_m)), 0.0)
        return smooth(low, known, smooth_m / self.cell_m)


def pool_minima(cells: Tensor, known: Tensor) -> Tensor:
    """The lowest known of each 2x2 cells; 0 where none is."""
    minima = -max_pool2d(torch.where(known, -cells, -math.inf), 2)
    return torch.where(minima.isfinite(), minima, 0.0)


def support(lowest: Tensor, grounds: Tensor, known: Tensor) -> Tensor:
    """Share of the known cells around each that come within a meter of each ground, 0 to 1."""
    near = ((lowest - grounds < NEAR_M) & known).float()
    margin = SUPPORT_CELLS // 2
    share = avg_pool2d(near, SUPPORT_CELLS, 1, margin)
    return share / avg_pool2d(known.float(), SUPPORT_CELLS, 1, margin).clamp(min=1 / SUPPORT_CELLS**2)


def compute_slope(trend: Tensor, known: Tensor, cell_m: float) -> Tensor:
    """Slope of the trend, rise over run. A neighbor that is not known has the height of the cell itself."""
    rows, columns = trend.shape[-2:]
    edged, inside = pad(trend, (1, 1, 1, 1)), pad(known, (1, 1, 1, 1))

    def beside(row: int, column: int) -> Tensor:
        place = (..., slice(row, row + rows), slice(column, column + columns))
        return torch.where(inside[place], edged[place], trend)

    down = (beside(2, 1) - beside(0, 1)) / (2 * cell_m)
    across = (beside(1, 2) - beside(1, 0)) / (2 * cell_m)
    return (down.square() + across.square()).sqrt()
