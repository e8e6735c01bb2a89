"""The view of a network: its first layer, which computes input channels from the DSM, without parameters.

The input must keep meters, because thresholds are in meters. Elevation above sea level is not related to canopy. A view therefore
computes height differences from the surroundings, divided by a fixed scale that is the same for all tiles:

- *relief*: the surface above the mean of its surroundings.
- *top-hats*: the surface above its morphological opening, for several widths. A top-hat is the height above the lowest ground
  in the window: exact where the ground is visible, too small under closed canopy, too large on slopes. The differences between
  widths indicate which case applies.
- *ground*: the surface above the ground estimates of two classical filters (`forestgaps_models.ground`), which have a larger
  reach than top-hats and account for slopes.
- *positions*: position of a pixel in the tile, from -1 to 1, rows then columns (Liu et al. 2018, arXiv:1807.03247). For
  experiments: in a raster that is predicted in windows, positions cause seams.

The last channel is 1 where the survey has data and 0 elsewhere. Without data, all other channels are 0 too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, in_, le, max_len, min_len
from torch import Tensor, nn

from forestgaps_core import ConfigError
from forestgaps_models.ground import (
    CELLS_M,
    ENVELOPE_REACH_M,
    choose_cell_pixels,
    estimate_ground_by_envelope,
    estimate_ground_by_opening,
)
from forestgaps_models.morphology import compute_local_mean, open_surface

Channel = Literal["relief", "tophats", "ground", "positions"]


def unique(instance: Any, attribute: Any, values: Sequence[Any]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"contains a value twice: {list(values)}")


def choose_window_pixels(meters: float, resolution_m: float, name: str) -> int:
    """Return a width in meters as an odd number of pixels, rounded up.

    Raises:
        ConfigError: The width is a single pixel, which is no window.
    """
    pixels = round(meters / resolution_m)
    pixels += 1 - pixels % 2
    if pixels < 3:
        raise ConfigError(f"model.view.{name}: {meters:g} m is one pixel at {resolution_m:g} m; use {3 * resolution_m:g} m or more")
    return pixels


@frozen(kw_only=True)
class View:
    """The input channels of the network: (DSM - reference) / scale, for the chosen references."""

    channels: tuple[Channel, ...] = field(
        default=("relief", "tophats"),
        validator=and_(min_len(1), deep_iterable(in_(("relief", "tophats", "ground", "positions"))), unique),
        metadata={
            "help": "Input channels: relief (above the local mean), tophats (above the opening, for each width), ground (above the "
            "ground of two classical filters), positions (in the tile, -1 to 1). The valid mask is always included."
        },
    )
    relief_m: float = field(
        default=61.0,
        validator=and_(gt(0), le(2000)),
        metadata={"help": "Width of the square of the local mean of the relief, in meters."},
    )
    tophats_m: tuple[float, ...] = field(
        default=(7.0, 15.0, 31.0, 61.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), unique),
        metadata={"help": "Widths of the squares of the openings, in meters."},
    )
    scale_m: float = field(default=10.0, validator=and_(ge(1e-3), le(1e6)), metadata={"help": "Divisor of all heights, in meters."})

    def build(self, resolution_m: float) -> ViewLayer:
        return ViewLayer(
            self.channels,
            relief=choose_window_pixels(self.relief_m, resolution_m, "relief_m") if "relief" in self.channels else 0,
            tophats=[
                choose_window_pixels(width, resolution_m, "tophats_m") for width in self.tophats_m if "tophats" in self.channels
            ],
            scale_m=self.scale_m,
            resolution_m=resolution_m,
        )


class ViewLayer(nn.Module):
    """Maps (dsm, valid) to channels without a unit, (B, `channel_count`, H, W), float32 for any precision of the run.

    Near 2,000 m, neighboring numbers in bf16 differ by 8 m, so the view is not computed in bf16. The elevation of invalid pixels
    is never read.
    """

    def __init__(
        self, channels: Sequence[Channel], *, relief: int, tophats: Sequence[int], scale_m: float, resolution_m: float = 1.0
    ) -> None:
        super().__init__()
        self.resolution_m = resolution_m
        self.channels = tuple(channels)
        self.relief = relief  # pixels
        self.tophats = tuple(tophats)  # pixels
        self.scale_m = scale_m
        self.channel_count = 1 + sum(
            {"relief": 1, "tophats": len(self.tophats), "ground": 2, "positions": 2}[channel] for channel in self.channels
        )

    @property
    def multiple(self) -> int:
        """Return the width of the largest cells of the view, in pixels."""
        return max(choose_cell_pixels(cell_m, self.resolution_m) for cell_m in CELLS_M) if "ground" in self.channels else 1

    @property
    def reach(self) -> int:
        """Return the largest distance at which pixels affect the view of a pixel; for an opening, twice half of its window."""
        ground = math.ceil(ENVELOPE_REACH_M / self.resolution_m) if "ground" in self.channels else 0
        return max(self.relief // 2, 2 * (max(self.tophats, default=0) // 2), ground)

    def forward(self, dsm: Tensor, valid: Tensor) -> Tensor:
        with torch.autocast(dsm.device.type, enabled=False):
            surface = dsm.float()
            values = [value for channel in self.channels for value in self.compute_channels(channel, surface, valid)]
            # Convolutions keep the memory layout of their input; channels-last is faster on CPUs.
            return torch.cat([*values, valid.float()], dim=1).contiguous(memory_format=torch.channels_last)

    def compute_channels(self, channel: Channel, surface: Tensor, valid: Tensor) -> list[Tensor]:
        if channel == "positions":
            return [torch.where(valid, position, 0.0) for position in compute_positions(surface)]
        if channel == "relief":
            references = [compute_local_mean(surface, valid, self.relief)]
        elif channel == "ground":
            references = [
                estimate(surface, valid, self.resolution_m)
                for estimate in (estimate_ground_by_opening, estimate_ground_by_envelope)
            ]
        else:
            references = [open_surface(surface, valid, size) for size in self.tophats]
        return [torch.where(valid, (surface - reference) / self.scale_m, 0.0) for reference in references]


def compute_positions(surface: Tensor) -> list[Tensor]:
    """Return the row and the column of each pixel from -1 to 1, as two channels of the shape of `surface`."""
    rows, columns = surface.shape[-2:]
    down = torch.linspace(-1, 1, rows, device=surface.device)[:, None]
    across = torch.linspace(-1, 1, columns, device=surface.device)[None, :]
    return [down.expand_as(surface), across.expand_as(surface)]
