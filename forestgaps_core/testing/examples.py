"""Example batches for tests: hills under a canopy with holes, and logits for them."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from forestgaps_core.components import Batch, Tiles, map_tensors
from forestgaps_core.runtime.rng import random_numbers

THRESHOLDS = (2.0, 5.0, 10.0)


def example_batch(
    *, samples: int = 4, size: int = 32, thresholds: tuple[float, ...] = THRESHOLDS, seed: int = 0, nodata: float = 0.1
) -> Batch:
    """Return smooth hills under a canopy with holes, and a share of invalid pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((samples, 1, 5, 5), generator=generator) * 60 + 400
    ground = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    blobs = nn.functional.interpolate(torch.rand((samples, 1, 9, 9), generator=generator), size=(size, size), mode="bilinear")
    height = (blobs - 0.25).clamp(min=0) * 40 + torch.rand((samples, 1, size, size), generator=generator)
    valid = torch.rand((samples, 1, size, size), generator=generator) >= nodata
    dsm = ground + height
    median = torch.where(valid, dsm, torch.nan).flatten(1).nanmedian(1).values[:, None, None, None]
    levels = torch.tensor(thresholds).expand(samples, -1)
    return Batch(
        dsm=torch.where(valid, dsm, median),
        thresholds=levels,
        target=(height < levels[:, :, None, None]).float(),
        valid=valid,
        height=torch.where(valid, height, 0.0),
        index=torch.arange(samples),
    )


def example_logits(batch: Batch, seed: int = 1) -> Tensor:
    """Return logits that are right for most pixels."""
    noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(seed))
    return (batch.target - 0.5) * 2 + noise * 2


def fill_invalid_with_garbage(batch: Batch, logits: Tensor) -> tuple[Batch, Tensor]:
    """Return the batch and logits with other values at the invalid pixels."""
    garbage = torch.where(batch.valid, 0.0, 1.0)
    height = None if batch.height is None else batch.height + 50 * garbage
    changed = attrs.evolve(batch, target=torch.where(batch.valid, batch.target, 1 - batch.target), height=height)
    return changed, torch.where(batch.valid, logits, logits * -3 + 7)


def select_samples(batch: Batch, order: Tensor) -> Batch:
    """Return the samples of a batch in this order."""
    return map_tensors(batch, lambda tensor: tensor[order])


def example_tiles(*, samples: int = 24, size: int = 32, seed: int = 0) -> Tiles:
    """Return hills under a canopy with holes, and some invalid pixels, as they come from a data source.

    Their further layer `copies` has a copy of DSM and height, so that a test sees whether it moves as they do.
    """
    batch = example_batch(samples=samples, size=size, seed=seed)
    assert batch.height is not None and batch.index is not None
    return Tiles(
        dsm=batch.dsm,
        height=batch.height,
        valid=batch.valid,
        index=batch.index,
        draw=random_numbers(seed, 0, batch.index),
        layers={"copies": torch.cat([batch.dsm, batch.height], dim=1)},
    )
