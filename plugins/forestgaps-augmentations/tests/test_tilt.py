from __future__ import annotations

import torch
from attrs import evolve

from forestgaps_augmentations.tilt import tilt
from forestgaps_core.testing import example_tiles


def test_tilting_adds_a_plane_and_leaves_heights() -> None:
    tiles = example_tiles(samples=16, size=8)
    changed = tilt(evolve(tiles, dsm=torch.zeros_like(tiles.dsm)), slope=0.3, offset_m=50.0, resolution_m=2.0)
    plane = changed.dsm
    slope_x, slope_y = plane.diff(dim=-1), plane.diff(dim=-2)
    assert (slope_x - slope_x[..., :1, :1]).abs().max() < 1e-4
    assert (slope_y - slope_y[..., :1, :1]).abs().max() < 1e-4
    assert slope_x.abs().max() <= 0.3 * 2.0 + 1e-4
    assert slope_x[:, 0, 0, 0].std() > 0.1
    assert plane.mean((1, 2, 3)).abs().max() <= 50
    assert torch.equal(changed.height, tiles.height)
