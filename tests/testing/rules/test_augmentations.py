"""Each rule for augmentations fails for an augmentation that breaks it."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest
import torch
from attrs import evolve, field, frozen

from forestgaps_core.contracts import CheckedAugmentation, check_built
from forestgaps_core.errors import PluginError
from forestgaps_core.runtime.rng import uniform
from forestgaps_core.testing import check_augmentation, example_tiles


def unchanged(tiles):
    return tiles


def in_place(tiles):
    tiles.dsm.add_(1)
    return tiles


def random(tiles):
    return evolve(tiles, dsm=tiles.dsm + torch.rand(()))


def double_precision(tiles):
    return evolve(tiles, dsm=tiles.dsm.double())


def cropped(tiles):
    return evolve(tiles, dsm=tiles.dsm[..., 1:])


def renumbered(tiles):
    return evolve(tiles, index=tiles.index + 1)


def all_valid(tiles):
    return evolve(tiles, valid=torch.ones_like(tiles.valid))


def leaking(tiles):
    return evolve(tiles, dsm=tiles.dsm - tiles.dsm.mean((2, 3), keepdim=True))


def height_alone(tiles):
    rise = uniform(tiles.draw, "rise", 1).float()[:, :, None, None]
    return evolve(tiles, height=tiles.height + rise)


def ground_alone(tiles):
    return evolve(tiles, dsm=tiles.dsm + 1)


def shifted(tiles):
    layers = {name: layer.roll(1, -1) for name, layer in tiles.layers.items()}
    return evolve(shifted_without_layers(tiles), layers=layers)


def shifted_without_layers(tiles):
    return evolve(tiles, valid=tiles.valid.roll(1, -1), dsm=tiles.dsm.roll(1, -1), height=tiles.height.roll(1, -1))


def brighter(tiles):
    return evolve(tiles, layers={name: layer * 1.5 for name, layer in tiles.layers.items()})


def mixed(tiles):
    lowest = torch.where(tiles.valid, tiles.dsm, torch.inf).amin()
    return evolve(tiles, dsm=tiles.dsm - lowest)


def infinite(tiles):
    return evolve(tiles, dsm=tiles.dsm / 0)


@frozen(kw_only=True)
class Config:
    """For tests."""

    function: str = field(default="unchanged", metadata={"help": "Function."})
    changes: ClassVar[tuple[str, ...]] = ("ground",)

    def build(self):
        return globals()[self.function]


@frozen(kw_only=True)
class Undeclared(Config):
    """Declares nothing."""

    changes: ClassVar[tuple[str, ...]] = ("ground", "canopy")


@frozen(kw_only=True)
class Nothing(Config):
    """Declares that nothing changes."""

    changes: ClassVar[tuple[str, ...]] = ()


@frozen(kw_only=True)
class Misspelt(Config):
    """Declares a change that is not known."""

    changes: ClassVar[tuple[str, ...]] = ("grounds",)


@frozen(kw_only=True)
class Moving(Config):
    """Moves pixels."""

    changes: ClassVar[tuple[str, ...]] = ("place",)


@frozen(kw_only=True)
class Coloring(Config):
    """Changes colors."""

    changes: ClassVar[tuple[str, ...]] = ("layers",)


@frozen(kw_only=True)
class Mixing(Config):
    """Mixes samples."""

    mixes_samples: ClassVar[bool] = True


@pytest.mark.parametrize(
    "config",
    [Config(), Nothing(), Config(function="ground_alone"), Undeclared(function="height_alone"), Moving(function="shifted"),
     Coloring(function="brighter"), Mixing(function="mixed")],
)  # fmt: skip
def test_an_augmentation_that_keeps_the_rules_passes(config):
    check_augmentation(config)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Config(function="in_place"), "changed in place"),
        (Config(function="random"), "the same draws give other tiles the second time"),
        (Config(function="renumbered"), "index of the samples changes"),
        (Config(function="all_valid"), "invalid pixels become valid"),
        (Config(function="leaking"), "invalid pixels change the DSM of others"),
        (Config(function="height_alone"), "the canopy changes"),
        (Nothing(function="ground_alone"), "the ground changes"),
        (Config(function="shifted"), "invalid pixels become valid"),
        (Moving(function="shifted_without_layers"), "those of the further layers .* do not move with them"),
        (Config(function="brighter"), "the further layers of the tiles change"),
        (Config(function="mixed"), "a tile alone is changed otherwise than in a batch"),
        (Config(function="infinite"), "the DSM is not finite"),
        (Misspelt(), "it has some of: place, ground, canopy"),
    ],
)
def test_an_augmentation_that_breaks_a_rule_fails(config, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_augmentation(config)


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        (double_precision, r"mine returned dsm as torch.float64 \(24, 1, 32, 32\), expected torch.float32"),
        (cropped, r"mine returned dsm as torch.float32 \(24, 1, 32, 31\), expected torch.float32 \(24, 1, 32, 32\)"),
        (lambda tiles: None, "mine returned a NoneType, expected Tiles"),
        (lambda tiles: attrs.evolve(tiles, height=None), "mine returned height as NoneType"),
        (lambda tiles: 1 / 0, "mine failed: ZeroDivisionError"),
    ],
)
def test_a_run_names_the_augmentation_that_returns_something_else(augment, sentence):
    with pytest.raises(PluginError, match=sentence):
        CheckedAugmentation(augment, lambda: "mine")(example_tiles())


def test_what_cannot_be_called_is_refused_where_it_is_built():
    with pytest.raises(PluginError, match=r"mine made a int, expected an `Augmentation`"):
        check_built("augmentations", 1, lambda: "mine")
