"""Reading tiles in an order and with draws that are functions of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from attrs import define, field
from torch.utils.data import DataLoader, Dataset

from forestgaps_core.components import Source, Tiles
from forestgaps_core.randomness import draws

ORDER = 0x0DDE5  # another sequence than the samples' own draws


@define(eq=False)
class SourceDataset(Dataset[Tiles]):
    """A source as torch's loader asks: a whole batch at once, by (index, draw)."""

    source: Source

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Tiles:
        tiles = [self.source.read(index, draw) for index, draw in keys]
        return Tiles(
            dsm=torch.stack([tile.dsm for tile in tiles])[:, None],
            height=torch.stack([tile.height for tile in tiles])[:, None],
            valid=torch.stack([tile.valid for tile in tiles])[:, None],
            index=torch.tensor([index for index, _ in keys]),
            draw=torch.tensor([draw for _, draw in keys]),
        )

    def __getitem__(self, key: tuple[int, int]) -> Tiles:
        return self.__getitems__([key])


@define(eq=False)
class Keys:
    """(index, draw) of every sample of an epoch, batch by batch, from batch `start` on."""

    samples: int
    batch_size: int
    seed: int
    shuffle: bool
    epoch: int = 0
    start: int = 0

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        index = torch.arange(self.samples)
        if self.shuffle:
            index = draws(self.seed ^ ORDER, self.epoch, index).argsort()
        keys = list(zip(index.tolist(), draws(self.seed, self.epoch, index).tolist(), strict=True))
        for batch in range(self.start, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size]


def as_it_is(tiles: Any) -> Any:
    return tiles


@define(eq=False)
class TileLoader:
    """Batches of tiles from a source; the same ones for any number of loader processes.

    Iterating gives the batches of the epoch last set by `seek`, from the batch it named.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    workers: int = 0
    pin_memory: bool = False
    _keys: Keys = field(init=False)
    _loader: DataLoader[Tiles] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keys = Keys(len(self.source), self.batch_size, self.seed, self.shuffle)
        self._loader = DataLoader(
            SourceDataset(self.source),
            batch_sampler=self._keys,
            collate_fn=as_it_is,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.workers > 0,
            generator=torch.Generator(),  # its own: starting an epoch must not move the generator dropout uses
        )

    def __len__(self) -> int:
        return len(self._keys)

    def seek(self, epoch: int, batch: int = 0) -> None:
        self._keys.epoch, self._keys.start = epoch, batch

    def __iter__(self) -> Iterator[Tiles]:
        return iter(self._loader)
