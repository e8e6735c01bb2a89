"""Small batches for tests of metrics."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.testing import example_batch, example_logits


def make_batch_of_pixels(gap: list[int]) -> Batch:
    """Return a batch of one row of pixels at one threshold, 1 in a gap."""
    shape = (1, 1, 1, len(gap))
    return Batch(
        dsm=torch.zeros(shape),
        thresholds=torch.tensor([[5.0]]),
        target=torch.tensor(gap, dtype=torch.float32).reshape(shape),
        valid=torch.ones(shape, dtype=torch.bool),
    )


def make_rotated_pair(turn: int, seed: int) -> list[tuple[Tensor, Batch]]:
    """Return the logits and batch of a tile, and of the same tile rotated or reflected; `turn` is 0 to 7."""
    batch = example_batch(samples=1, size=16, seed=seed)
    logits = example_logits(batch, seed=seed)

    def rotate(channel: Tensor) -> Tensor:
        return torch.rot90(channel.flip(-1) if turn & 1 else channel, turn >> 1, (-2, -1))

    return [(logits, batch), (rotate(logits), attrs.evolve(batch, target=rotate(batch.target), valid=rotate(batch.valid)))]
