from __future__ import annotations

import pytest
import torch

from forestgaps_augmentations.canopy_mix import CanopyMix
from forestgaps_augmentations.flip_rotate import FlipRotate
from forestgaps_augmentations.sometimes import Sometimes
from forestgaps_augmentations.tilt import Tilt
from forestgaps_core.testing import build_component, check_augmentation, example_tiles


@pytest.mark.parametrize("inner", [Tilt(), FlipRotate(), CanopyMix()])
def test_the_contract(inner: object) -> None:
    check_augmentation(Sometimes(augmentation=inner))


def test_a_tile_is_augmented_as_a_whole_or_not_at_all() -> None:
    tiles = example_tiles()
    inner, some = (build_component("augmentations", config)(tiles) for config in (Tilt(), Sometimes(augmentation=Tilt())))
    changed = [not torch.equal(after, before) for after, before in zip(some.dsm, tiles.dsm, strict=True)]
    assert 0 < sum(changed) < len(changed)
    for place, is_changed in enumerate(changed):
        assert torch.equal(some.dsm[place], (inner if is_changed else tiles).dsm[place])


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0), (1.0, 1)])
def test_the_probability_is_the_share_of_tiles(probability: float, expected: int) -> None:
    tiles = example_tiles()
    changed = build_component("augmentations", Sometimes(augmentation=Tilt(), probability=probability))(tiles)
    moved = [not torch.equal(after, before) for after, before in zip(changed.dsm, tiles.dsm, strict=True)]
    assert moved == [expected] * len(tiles.dsm)
