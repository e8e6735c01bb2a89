"""What holds for all augmentations, whatever their settings."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from attrs import evolve

from forestgaps_augmentations import CanopyMix, CanopyStretch, FlipRotate, Hills, Tilt
from forestgaps_core import BatchMaker, Thresholds, Tiles
from forestgaps_core.testing import build_component, check_augmentation, example_tiles

SETTINGS = [
    FlipRotate(),
    Tilt(),
    Tilt(slope=0.0, offset_m=0.0),
    Tilt(slope=1.5, offset_m=5000.0),
    Hills(),
    Hills(relief_m=0.0),
    Hills(relief_m=100.0),
    CanopyStretch(),
    CanopyStretch(factor=1.0),
    CanopyStretch(factor=4.0),
    CanopyMix(),
    CanopyMix(swap=0.5, cutmix=0.5, mixup=0.5),
    CanopyMix(swap=0.0),
]
ALL = [CanopyStretch(factor=1.5), CanopyMix(swap=0.2, cutmix=0.2, mixup=0.2), FlipRotate(), Tilt(slope=0.5), Hills(relief_m=12)]


def build(config: Any) -> Any:
    return build_component("augmentations", config)


@pytest.mark.parametrize("config", SETTINGS, ids=repr)
def test_the_contract_of_an_augmentation_holds(config: Any) -> None:
    check_augmentation(config)


def test_augmentation_is_a_function_of_the_draw() -> None:
    augmentations = [build(config) for config in (CanopyStretch(factor=1.5), FlipRotate(), Tilt(), Hills(relief_m=20.0))]
    maker = BatchMaker(thresholds=Thresholds(sampled=4), augmentations=augmentations)
    mixing = BatchMaker(thresholds=Thresholds(), augmentations=[build(CanopyMix(swap=0.0, cutmix=0.5, mixup=0.5))])
    assert torch.equal(mixing(example_tiles()).dsm, mixing(example_tiles()).dsm)
    whole, again = maker(example_tiles()), maker(example_tiles())
    assert torch.equal(whole.dsm, again.dsm)
    assert torch.equal(whole.thresholds, again.thresholds)
    tiles = example_tiles()
    part = Tiles(tiles.dsm[3:5], tiles.height[3:5], tiles.valid[3:5], tiles.index[3:5], tiles.draw[3:5])
    assert torch.equal(maker(part).dsm, whole.dsm[3:5])


def test_the_order_does_not_change_what_is_sampled() -> None:
    """Ground is added, canopy is scaled: any order of these ends in the same tiles."""
    tiles = example_tiles()
    ends = []
    for order in permutations([Tilt(), Hills(), CanopyStretch()]):
        changed = tiles
        for config in order:
            changed = build(config)(changed)
        ends.append(changed)
    for end in ends[1:]:
        torch.testing.assert_close(end.dsm, ends[0].dsm, atol=1e-3, rtol=0)
        torch.testing.assert_close(end.height, ends[0].height)


@pytest.mark.parametrize("sampled", [0, 4])
def test_a_batch_is_made_on_the_device_of_its_tiles_without_a_look_at_them(sampled: int) -> None:
    maker = BatchMaker(thresholds=Thresholds(sampled=sampled), augmentations=[build(config) for config in ALL])
    batch = maker(example_tiles().to("meta"))  # a device that holds no numbers: reading one from it raises
    made = (batch.dsm, batch.height, batch.valid, batch.thresholds, batch.target, batch.index)
    assert {tensor.device.type for tensor in made if tensor is not None} == {"meta"}


def test_other_draws_give_other_tiles() -> None:
    tiles = example_tiles()
    for config in ALL:
        one, other = build(config)(tiles), build(config)(evolve(tiles, draw=tiles.draw + 1))
        assert not torch.equal(one.dsm, other.dsm), config
