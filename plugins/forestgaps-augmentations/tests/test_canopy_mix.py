from __future__ import annotations

import torch

from forestgaps_augmentations.canopy_mix import mix_canopies
from forestgaps_core.testing import example_tiles


def test_another_canopy_stands_on_the_same_ground() -> None:
    tiles = example_tiles(samples=200, size=16)
    changed = mix_canopies(tiles, swap=0.0, cutmix=0.5, mixup=0.0)
    torch.testing.assert_close(changed.dsm - changed.height, tiles.dsm - tiles.height, atol=1e-4, rtol=0)
    moved = changed.height != tiles.height
    torch.testing.assert_close(changed.height[moved], tiles.height.roll(1, 0)[moved])
    assert not moved[~tiles.valid].any()
    touched = moved.flatten(1).any(1).double().mean().item()
    assert 0.35 < touched < 0.6  # half of the tiles, less those whose square is too small to hold a pixel
    assert moved.flatten(1).double().mean(1).max() <= 0.6


def test_a_swapped_canopy_is_whole() -> None:
    tiles = example_tiles(samples=50, size=8)
    changed = mix_canopies(tiles, swap=1.0, cutmix=0.0, mixup=0.0)
    both = tiles.valid & tiles.valid.roll(1, 0)
    torch.testing.assert_close(changed.height, torch.where(both, tiles.height.roll(1, 0), tiles.height))
    torch.testing.assert_close(changed.dsm - changed.height, tiles.dsm - tiles.height, atol=1e-4, rtol=0)


def test_blended_canopies_lie_between_the_two() -> None:
    tiles = example_tiles(samples=50, size=8)
    changed = mix_canopies(tiles, swap=0.0, cutmix=0.0, mixup=1.0)
    both = tiles.valid & tiles.valid.roll(1, 0) & ((tiles.height.roll(1, 0) - tiles.height).abs() > 0.1)
    share = ((changed.height - tiles.height) / (tiles.height.roll(1, 0) - tiles.height))[both]
    assert share.min() >= -1e-4
    assert share.max() <= 0.5 + 1e-3
    assert share.std() > 0.1


def test_further_layers_follow_the_canopy_that_they_show() -> None:
    tiles = example_tiles(samples=200, size=16)
    for settings in ({"swap": 0.0, "cutmix": 0.5, "mixup": 0.0}, {"swap": 0.0, "cutmix": 0.0, "mixup": 1.0}):
        changed = mix_canopies(tiles, **settings)
        height = changed.layers["copies"][:, 1:]
        torch.testing.assert_close(height[changed.valid], changed.height[changed.valid], atol=1e-4, rtol=1e-5)
        assert (height != tiles.layers["copies"][:, 1:]).any()
