from __future__ import annotations

import torch
from attrs import evolve

from forestgaps_augmentations.flip_rotate import flip_rotate
from forestgaps_core.testing import example_tiles


def test_the_eight_turns_all_come_up_and_keep_layers_together() -> None:
    tiles = example_tiles(samples=400, size=5)
    changed = flip_rotate(evolve(tiles, height=tiles.dsm * 2, valid=tiles.dsm > 430))
    assert torch.equal(changed.dsm * 2, changed.height)
    assert torch.equal(changed.dsm > 430, changed.valid)
    assert torch.equal(changed.layers["copies"][:, :1], changed.dsm)
    plane = torch.arange(9.0).reshape(1, 1, 3, 3).expand(400, -1, -1, -1)
    moved = flip_rotate(evolve(tiles, dsm=plane, height=plane, valid=plane > 0)).dsm
    kinds, counts = moved.flatten(1).unique(dim=0, return_counts=True)
    slow = {tuple(torch.rot90(p, k).flatten().tolist()) for p in (plane[0, 0], plane[0, 0].T) for k in range(4)}
    assert {tuple(kind.tolist()) for kind in kinds} == slow
    assert counts.min() > 20
