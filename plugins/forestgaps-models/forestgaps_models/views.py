"""What a network sees of a DSM: its first layer, without parameters.

A threshold in meters can only be learned if the input keeps meters, and elevation above the sea says nothing about canopy.
So a view measures the surface against its surroundings and divides by one fixed scale, the same for every tile:

- *relief*: the surface above the mean of its surroundings.
- *top-hats*: the surface above its morphological opening, for several widths. An opening is the surface with everything
  narrower than the window cut off, so a top-hat is the height above the lowest ground within reach: exact where the ground
  shows, too small under closed canopy, too large on slopes. Several widths together say which.
- *ground*: the surface above two guesses of the ground by classical filters (`forestgaps_models.ground`), which see farther
  than top-hats and take slopes into account.
- *positions*: where in the tile a pixel lies, from -1 to 1, rows then columns (Liu et al. 2018, arXiv:1807.03247). A raster
  predicted in windows has no such place, so expect seams; for experiments.

The last channel is 1 where the survey has data and 0 elsewhere; there all other channels are 0 too.
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
        raise ValueError(f"names something twice: {list(values)}")


def choose_window_pixels(meters: float, resolution_m: float, name: str) -> int:
    """The odd number of pixels nearest to a width in meters, from above.

    Raises:
        ConfigError: It would be a single pixel, whose window sees nothing.
    """
    pixels = round(meters / resolution_m)
    pixels += 1 - pixels % 2
    if pixels < 3:
        raise ConfigError(f"model.view.{name}: {meters:g} m is one pixel at {resolution_m:g} m; use {3 * resolution_m:g} m or more")
    return pixels


@frozen(kw_only=True)
class View:
    """What the network sees of the DSM: (DSM - reference) / scale, for the references chosen."""

    channels: tuple[Channel, ...] = field(
        default=("relief", "tophats"),
        validator=and_(min_len(1), deep_iterable(in_(("relief", "tophats", "ground", "positions"))), unique),
        metadata={
            "help": "What to show: relief (above the local mean), tophats (above the opening, for each width), ground (above the "
            "ground of two classical filters), positions (place in the tile, -1 to 1). The valid mask is always shown."
        },
    )
    relief_m: float = field(
        default=61.0,
        validator=and_(gt(0), le(2000)),
        metadata={"help": "Width of the square whose mean the relief is measured from, meters."},
    )
    tophats_m: tuple[float, ...] = field(
        default=(7.0, 15.0, 31.0, 61.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), unique),
        metadata={"help": "Widths of the squares of the openings, meters."},
    )
    scale_m: float = field(default=10.0, validator=and_(ge(1e-3), le(1e6)), metadata={"help": "Meters that become 1."})

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
    """(dsm, valid) to channels without a unit, (B, `channel_count`, H, W) float32, whatever the precision of the run.

    Elevations of 2,000 m leave 8 m between neighboring numbers in bf16, so the view must not be computed in it. The
    elevation of invalid pixels is never read.
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
        """Pixels on a side of the largest cells that it looks at."""
        return max(choose_cell_pixels(cell_m, self.resolution_m) for cell_m in CELLS_M) if "ground" in self.channels else 1

    @property
    def reach(self) -> int:
        """Pixels from which what surrounds a pixel changes what is shown of it. An opening looks twice half its window."""
        ground = math.ceil(ENVELOPE_REACH_M / self.resolution_m) if "ground" in self.channels else 0
        return max(self.relief // 2, 2 * (max(self.tophats, default=0) // 2), ground)

    def forward(self, dsm: Tensor, valid: Tensor) -> Tensor:
        with torch.autocast(dsm.device.type, enabled=False):
            surface = dsm.float()
            values = [value for channel in self.channels for value in self.compute_channels(channel, surface, valid)]
            # Convolutions keep the layout they are given; channels last are faster on CPUs.
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
    """Row and column from -1 to 1, as two channels of the shape of `surface`."""
    rows, columns = surface.shape[-2:]
    down = torch.linspace(-1, 1, rows, device=surface.device)[:, None]
    across = torch.linspace(-1, 1, columns, device=surface.device)[None, :]
    return [down.expand_as(surface), across.expand_as(surface)]
