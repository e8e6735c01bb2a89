"""Make a batch from tiles, on the device: augmentations, thresholds, targets.

Nothing is stored per threshold; masks cost one comparison. Every random choice comes from `Tiles.draw`.
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
    """The DSM with each tile's median where it is invalid; 0 in a tile without any valid pixel. (B, 1, H, W) both."""
    known = torch.where(valid, dsm, torch.nan).flatten(1)
    median = known.nanmedian(dim=1).values.nan_to_num(nan=0.0)[:, None, None, None]
    return torch.where(valid, dsm, median)


def sample_thresholds(draw: Tensor, values: Sequence[float], count: int) -> Tensor:
    """Return (B, count) float32 meters, ascending, log-uniform between the ends of `values`."""
    low, high = values[0], values[-1]
    share = uniform(draw, "thresholds", count).sort(dim=1).values
    return (low * (high / low) ** share).to(torch.float32)


@frozen(kw_only=True)
class BatchMaker:
    """Makes a `Batch` of `Tiles`, on whatever device they are.

    Without augmentations and with `thresholds.drawn` 0, as for validation and test, nothing is random.
    """

    thresholds: Thresholds
    augmentations: Sequence[Augmentation] = ()

    def __call__(self, tiles: Tiles) -> Batch:
        for augment in self.augmentations:
            tiles = augment(tiles)
        dsm, height, valid = tiles.dsm, tiles.height, tiles.valid
        if self.thresholds.drawn:
            thresholds = sample_thresholds(tiles.draw, self.thresholds.values, self.thresholds.drawn)
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
        )
