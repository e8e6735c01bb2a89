from __future__ import annotations

import torch

from forestgaps_augmentations.canopy_stretch import stretch_canopy
from forestgaps_core.testing import example_tiles


def test_a_stretched_canopy_keeps_its_ground_and_its_shape() -> None:
    tiles = example_tiles(samples=100, size=8)
    changed = stretch_canopy(tiles, factor=1.5)
    torch.testing.assert_close(changed.dsm - changed.height, tiles.dsm - tiles.height, atol=1e-4, rtol=0)
    factor = changed.height.amax((1, 2, 3)) / tiles.height.amax((1, 2, 3))
    torch.testing.assert_close(changed.height, tiles.height * factor[:, None, None, None])
    assert 1 / 1.5 <= factor.min() < 0.75
    assert 1.35 < factor.max() <= 1.5
    assert 0.35 < (factor < 1).double().mean() < 0.65
