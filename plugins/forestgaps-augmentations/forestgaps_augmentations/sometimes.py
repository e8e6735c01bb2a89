"""Any augmentation, for a random part of the tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_augmentations.tilt import Tilt
from forestgaps_core import Augmentation, Component, Tiles
from forestgaps_core.runtime.rng import uniform


def apply_sometimes(tiles: Tiles, *, augmentation: Augmentation, probability: float) -> Tiles:
    """Augment each tile with a probability, which its own draw decides; the other tiles stay as they are."""
    chosen = (uniform(tiles.draw, "sometimes", 1)[:, 0] < probability)[:, None, None, None]
    changed = augmentation(tiles)

    def choose(after: Tensor, before: Tensor) -> Tensor:
        return torch.where(chosen, after, before)

    return evolve(
        tiles,
        dsm=choose(changed.dsm, tiles.dsm),
        height=choose(changed.height, tiles.height),
        valid=choose(changed.valid, tiles.valid),
        layers={name: choose(changed.layers[name], layer) for name, layer in tiles.layers.items()},
    )


@frozen(kw_only=True)
class Sometimes:
    """Any augmentation, applied to a random part of the tiles; the draw of a tile decides."""

    augmentation: Component["augmentations"] = field(  # noqa: F821, UP037
        factory=Tilt, metadata={"help": "An augmentation of any package, a table with its `name` and its own settings."}
    )
    probability: float = field(
        default=0.5, validator=and_(ge(0), le(1)), metadata={"help": "Share of the tiles that are augmented, 0 to 1."}
    )

    @property
    def changes(self) -> tuple[str, ...]:
        changes: tuple[str, ...] = getattr(self.augmentation, "changes", ("ground", "canopy"))
        return changes

    @property
    def mixes_samples(self) -> bool:
        return bool(getattr(self.augmentation, "mixes_samples", False))

    def build(self, build_inner: Callable[[Any], Augmentation]) -> Augmentation:
        return partial(apply_sometimes, augmentation=build_inner(self.augmentation), probability=self.probability)
