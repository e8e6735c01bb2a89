"""Make a batch from tiles, on the device: augmentations, thresholds, targets.

No mask is stored per threshold, because a mask costs only one comparison. All random numbers are computed from `Tiles.draw`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.components import Augmentation, Batch, Tiles
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.runtime.rng import uniform


def fill_invalid(dsm: Tensor, valid: Tensor) -> Tensor:
    """Return the DSM with invalid pixels set to the median of their tile, or to 0 in a tile without valid pixels, (B, 1, H, W)."""
    known = torch.where(valid, dsm, torch.nan).flatten(1)
    median = known.nanmedian(dim=1).values.nan_to_num(nan=0.0)[:, None, None, None]
    return torch.where(valid, dsm, median)


def clear_invalid(layer: Tensor, valid: Tensor) -> Tensor:
    """Return a further layer with 0 at invalid pixels and for values that are not finite, (B, C, H, W)."""
    return torch.where(valid & layer.isfinite(), layer, 0.0)


def sample_thresholds(draw: Tensor, values: Sequence[float], count: int) -> Tensor:
    """Return (B, count) float32 meters, ascending, log-uniform between the ends of `values`."""
    low, high = values[0], values[-1]
    share = uniform(draw, "thresholds", count).sort(dim=1).values
    return (low * (high / low) ** share).to(torch.float32)


@frozen(kw_only=True)
class BatchMaker:
    """Makes a `Batch` from `Tiles`, on the device of the tiles.

    The result is not random if there are no augmentations and `thresholds.sampled` is 0, as in validation and test.
    """

    thresholds: Thresholds
    augmentations: Sequence[Augmentation] = ()

    def __call__(self, tiles: Tiles) -> Batch:
        for augment in self.augmentations:
            tiles = augment(tiles)
        dsm, height, valid = tiles.dsm, tiles.height, tiles.valid
        if self.thresholds.sampled:
            thresholds = sample_thresholds(tiles.draw, self.thresholds.values, self.thresholds.sampled)
        else:
            thresholds = torch.tensor(self.thresholds.values, dtype=torch.float32).to(dsm.device, non_blocking=True)
            thresholds = thresholds.expand(len(dsm), -1)
        target = (height < thresholds[:, :, None, None]).to(torch.float32)
        return Batch(
            dsm=fill_invalid(dsm, valid),
            thresholds=thresholds,
            target=target,
            valid=valid,
            height=torch.where(valid, height, 0.0),
            index=tiles.index,
            layers={name: clear_invalid(layer, valid) for name, layer in tiles.layers.items()},
        )
