"""What every augmentation is checked for: a function of the draw of a sample, with DSM, height and mask in agreement."""

from __future__ import annotations

from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from forestgaps_core.components import Augmentation, Tiles, map_tensors
from forestgaps_core.contracts import check_tiles
from forestgaps_core.runtime.rng import random_numbers
from forestgaps_core.testing.conformance import build_component, check_config, example_batch, require_close

SAMPLES = 24
CHANGES = ("place", "ground", "canopy", "layers")


def example_tiles(*, samples: int = SAMPLES, size: int = 32, seed: int = 0) -> Tiles:
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


def check_augmentation(config: Any) -> None:
    """Require new tiles of the same shapes that depend on the draw only, and the changes that the config declares.

    `changes`, a class attribute of the config, has some of "place" (pixels move), "ground", "canopy" and "layers" (values of
    further layers); by default "ground" and "canopy".
    With `mixes_samples = True` a sample may depend on others of its batch.
    """
    check_config(config)
    declared = getattr(config, "changes", ("ground", "canopy"))
    assert set(declared) <= set(CHANGES), f"changes is {declared!r}; it has some of: {', '.join(CHANGES)}"
    augment: Augmentation = build_component("augmentations", config, resolution_m=2.0)
    tiles = example_tiles()
    before = map_tensors(tiles, torch.clone)
    changed = augment(tiles)
    check_tiles(changed, tiles, lambda: type(config).__name__)
    assert are_equal(tiles, before), "the tiles that it is given are changed in place"
    for place in ("index", "draw"):
        assert torch.equal(getattr(changed, place), getattr(tiles, place)), f"{place} of the samples changes"
    torch.manual_seed(1)
    assert are_equal(augment(tiles), changed), "the same draws give other tiles the second time"
    check_invalid_pixels(augment, tiles, changed)
    check_agreement(tiles, changed, declared)
    check_further_layers(tiles, changed, declared)
    if not getattr(config, "mixes_samples", False):
        for sample in range(0, SAMPLES, 5):
            alone = augment(map_tensors(tiles, lambda tensor, sample=sample: tensor[sample : sample + 1]))  # type: ignore[misc]
            require_close(alone.dsm, changed.dsm[sample : sample + 1], "a tile alone is changed otherwise than in a batch")


def check_invalid_pixels(augment: Augmentation, tiles: Tiles, changed: Tiles) -> None:
    assert changed.dsm[changed.valid].isfinite().all(), "the DSM is not finite where it is valid"
    assert changed.height[changed.valid].isfinite().all(), "the height is not finite where it is valid"
    counts = (tiles.valid.sum((1, 2, 3)), changed.valid.sum((1, 2, 3)))
    assert (counts[1] <= counts[0]).all(), "invalid pixels become valid"
    invalid = ~tiles.valid
    garbage = evolve(tiles, dsm=tiles.dsm.masked_fill(invalid, -9999.0), height=tiles.height.masked_fill(invalid, torch.nan))
    other = augment(garbage)
    assert torch.equal(other.valid, changed.valid), "what is under invalid pixels changes which are valid"
    require_close(valid_values(other.dsm, changed), valid_values(changed.dsm, changed), "invalid pixels change the DSM of others")
    require_close(valid_values(other.height, changed), valid_values(changed.height, changed), "invalid pixels change other heights")


def check_agreement(tiles: Tiles, changed: Tiles, declared: tuple[str, ...]) -> None:
    """Ground, canopy and place stay, unless the augmentation changes them by its own account."""
    if "place" not in declared:
        assert not (changed.valid & ~tiles.valid).any(), "invalid pixels become valid, as if pixels moved; declare changes 'place'"
    for part, ours, theirs in (
        ("ground", tiles.dsm - tiles.height, changed.dsm - changed.height),
        ("canopy", tiles.height, changed.height),
    ):
        if part in declared:
            continue
        sentence = f"the {part} changes, or no longer agrees with the DSM; declare it in changes if it is meant"
        if "place" in declared:  # the same values, elsewhere
            for one, other in zip(sorted_values(ours, tiles), sorted_values(theirs, changed), strict=True):
                assert len(one) == len(other), f"{sentence}: other pixels are valid"
                require_close(other, one, sentence)
        else:
            require_close(valid_values(theirs, changed), valid_values(ours, changed), sentence)


def check_further_layers(tiles: Tiles, changed: Tiles, declared: tuple[str, ...]) -> None:
    """Further layers move with DSM and height, and are otherwise left alone, unless the config declares that it changes them."""
    if "layers" in declared:
        return
    copies, kept = changed.layers["copies"], changed.valid
    if "place" not in declared:
        sentence = 'the further layers of the tiles change; declare "layers" in changes if it is meant'
        require_close(copies[kept.expand_as(copies)], tiles.layers["copies"][kept.expand_as(copies)], sentence)
        return
    sentence = "pixels move, and those of the further layers (tiles.layers) do not move with them"
    dsm, height = copies[:, :1], copies[:, 1:]
    if "canopy" not in declared:
        require_close(height[kept], changed.height[kept], sentence)
    if not {"ground", "canopy"} & set(declared):
        require_close(dsm[kept], changed.dsm[kept], sentence)
    for one, other in zip(sorted_values(tiles.layers["copies"][:, :1], tiles), sorted_values(dsm, changed), strict=True):
        if len(one) == len(other):
            require_close(other, one, sentence)


def are_equal(one: Tiles, other: Tiles) -> bool:
    same = all(torch.equal(getattr(one, place), getattr(other, place)) for place in ("dsm", "height", "valid", "index", "draw"))
    return same and all(torch.equal(layer, other.layers[name]) for name, layer in one.layers.items())


def valid_values(plane: Tensor, tiles: Tiles) -> Tensor:
    return plane[tiles.valid]


def sorted_values(plane: Tensor, tiles: Tiles) -> list[Tensor]:
    return [values[valid].sort().values for values, valid in zip(plane, tiles.valid, strict=True)]
