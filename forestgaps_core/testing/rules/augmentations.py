"""The rules for augmentations: a function of the draw of a sample, with DSM, height and mask in agreement."""

from __future__ import annotations

from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from forestgaps_core.components import Augmentation, Tiles, map_tensors
from forestgaps_core.contracts import check_tiles
from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.comparison import require_close
from forestgaps_core.testing.examples import example_tiles

SAMPLES = 24
CHANGES = ("place", "ground", "canopy", "layers")


def build_and_apply(config: Any, arguments: dict[str, Any]) -> tuple[Augmentation, Tiles, Tiles]:
    """Return the augmentation, tiles, and what it makes of them."""
    augment: Augmentation = build_component("augmentations", config, **{"resolution_m": 2.0} | arguments)
    tiles = example_tiles(samples=SAMPLES)
    changed = augment(tiles)
    check_tiles(changed, tiles, lambda: type(config).__name__)
    return augment, tiles, changed


def check_new_tiles(config: Any, **arguments: Any) -> None:
    """The augmentation returns new tiles, of the same samples, and leaves the tiles that it is given as they are."""
    before = example_tiles(samples=SAMPLES)
    _, tiles, changed = build_and_apply(config, arguments)
    assert are_equal(tiles, before), "the tiles that it is given are changed in place"
    for place in ("index", "draw"):
        assert torch.equal(getattr(changed, place), getattr(tiles, place)), f"{place} of the samples changes"


def check_repeatable(config: Any, **arguments: Any) -> None:
    """The same draws give the same tiles, whatever the state of torch's generator."""
    augment, _, changed = build_and_apply(config, arguments)
    torch.manual_seed(1)
    assert are_equal(augment(example_tiles(samples=SAMPLES)), changed), "the same draws give other tiles the second time"


def check_finite(config: Any, **arguments: Any) -> None:
    """DSM and height are finite where they are valid."""
    _, _, changed = build_and_apply(config, arguments)
    assert changed.dsm[changed.valid].isfinite().all(), "the DSM is not finite where it is valid"
    assert changed.height[changed.valid].isfinite().all(), "the height is not finite where it is valid"


def check_invalid_pixels(config: Any, **arguments: Any) -> None:
    """Pixels without data stay without data, and do not change others."""
    augment, tiles, changed = build_and_apply(config, arguments)
    counts = (tiles.valid.sum((1, 2, 3)), changed.valid.sum((1, 2, 3)))
    assert (counts[1] <= counts[0]).all(), "invalid pixels become valid"
    tiles = example_tiles(samples=SAMPLES)
    invalid = ~tiles.valid
    garbage = evolve(tiles, dsm=tiles.dsm.masked_fill(invalid, -9999.0), height=tiles.height.masked_fill(invalid, torch.nan))
    other = augment(garbage)
    assert torch.equal(other.valid, changed.valid), "what is under invalid pixels changes which are valid"
    require_close(valid_values(other.dsm, changed), valid_values(changed.dsm, changed), "invalid pixels change the DSM of others")
    require_close(valid_values(other.height, changed), valid_values(changed.height, changed), "invalid pixels change other heights")


def check_tile_alone(config: Any, **arguments: Any) -> None:
    """A tile alone is changed as in a batch, unless the config has `mixes_samples = True`."""
    if getattr(config, "mixes_samples", False):
        return
    augment, _, changed = build_and_apply(config, arguments)
    tiles = example_tiles(samples=SAMPLES)
    for sample in range(0, SAMPLES, 5):
        alone = augment(map_tensors(tiles, lambda tensor, sample=sample: tensor[sample : sample + 1]))  # type: ignore[misc]
        require_close(alone.dsm, changed.dsm[sample : sample + 1], "a tile alone is changed otherwise than in a batch")


def list_declared(config: Any) -> tuple[str, ...]:
    declared: tuple[str, ...] = getattr(config, "changes", ("ground", "canopy"))
    assert set(declared) <= set(CHANGES), f"changes is {declared!r}; it has some of: {', '.join(CHANGES)}"
    return declared


def check_changes(config: Any, **arguments: Any) -> None:
    """Only what the config declares in `changes` changes: some of "place" (pixels move), "ground" and "canopy".

    Without such a class attribute, these are the last two.
    """
    declared = list_declared(config)
    _, _, changed = build_and_apply(config, arguments)
    tiles = example_tiles(samples=SAMPLES)
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


def check_further_layers(config: Any, **arguments: Any) -> None:
    """Further layers move with DSM and height; their values change only if the config declares "layers" in `changes`."""
    declared = list_declared(config)
    if "layers" in declared:
        return
    _, tiles, changed = build_and_apply(config, arguments)
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


RULES = (
    check_new_tiles,
    check_repeatable,
    check_finite,
    check_invalid_pixels,
    check_changes,
    check_further_layers,
    check_tile_alone,
)
