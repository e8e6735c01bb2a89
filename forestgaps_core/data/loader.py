"""Read tiles. Their order and crops are functions of (seed, epoch, index)."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from attrs import define, evolve, field, frozen
from torch.utils.data import DataLoader, Dataset

from forestgaps_core.components import Source, Tiles
from forestgaps_core.contracts import NamedErrors, check_layers, check_tile
from forestgaps_core.errors import DataError, ForestgapsError, PluginError, format_class
from forestgaps_core.runtime.rng import random_numbers

ORDER = 0x0DDE5  # another sequence than the samples' own draws
LIVES = 3  # how often loader processes that die at one place are started
log = logging.getLogger("forestgaps")


@define(eq=False)
class SourceDataset(Dataset[Tiles]):
    """A source as torch's loader asks: a whole batch at once, by (index, draw).

    Attributes:
        channels: Of the further layers that every tile has, by name.
    """

    source: Source
    channels: Mapping[str, int] = field(factory=dict)
    named_errors: NamedErrors = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.named_errors = NamedErrors(partial(describe_source, self.source))

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Tiles:
        with self.named_errors:
            tiles = [self.source.read(index, draw) for index, draw in keys]
        for tile, (index, _) in zip(tiles, keys, strict=True):
            check_tile(tile, self.source, index)
            if tile.dsm.shape != tiles[0].dsm.shape:
                sizes = f"{tuple(tiles[0].dsm.shape)} and {tuple(tile.dsm.shape)}"
                raise PluginError(
                    f"{describe_source(self.source)} has tiles of different sizes, {sizes}; all tiles of a source have one"
                )
            check_layers(tile, self.source, index, self.channels)
        return Tiles(
            dsm=torch.stack([tile.dsm for tile in tiles])[:, None],
            height=torch.stack([tile.height for tile in tiles])[:, None],
            valid=torch.stack([tile.valid for tile in tiles])[:, None],
            index=torch.tensor([index for index, _ in keys]),
            draw=torch.tensor([draw for _, draw in keys]),
            layers={name: torch.stack([tile.layers[name] for tile in tiles]) for name in self.channels},
        )

    def __getitem__(self, key: tuple[int, int]) -> Tiles:
        return self.__getitems__([key])


@frozen
class Share:
    """What one of several processes reads.

    Attributes:
        of: Its samples of every batch, or every so manieth batch, whole.
        part: Which of the shares.
        parts: How many there are.
    """

    of: Literal["samples", "batches"] = "samples"
    part: int = 0
    parts: int = 1

    def within(self, size: int) -> slice:
        """Which samples of a batch of this size; the last shares of a short batch may be empty."""
        each = -(-size // self.parts)
        return slice(self.part * each, (self.part + 1) * each)


WHOLE = Share()


@define(eq=False)
class Keys:
    """(index, draw) of every sample of an epoch, batch by batch, from batch `start` on, or of this process's share of them.

    A share of a batch without samples is given one that counts nothing: every process takes every step.
    """

    samples: int
    batch_size: int
    seed: int
    shuffle: bool
    epoch: int = 0
    start: int = 0
    share: Share = WHOLE

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        index = torch.arange(self.samples)
        if self.shuffle:
            index = random_numbers(self.seed ^ ORDER, self.epoch, index).argsort()
        keys = list(zip(index.tolist(), random_numbers(self.seed, self.epoch, index).tolist(), strict=True))
        for batch in range(self.start, len(self)):
            whole = keys[batch * self.batch_size : (batch + 1) * self.batch_size]
            if self.share.of == "batches":
                if batch % self.share.parts == self.share.part:
                    yield whole
            else:
                yield whole[self.share.within(len(whole))] or whole[:1]

    def weight(self, batch: int) -> float:
        """What the mean over this share of a batch counts in the mean over shares, so that every sample counts the same."""
        size = min(self.batch_size, self.samples - batch * self.batch_size)
        mine = self.share.within(size)
        return len(range(size)[mine]) * self.share.parts / size


def return_unchanged(tiles: Any) -> Any:
    return tiles


@define(eq=False)
class TileLoader:
    """Batches of tiles from a source; the same ones for any number of loader processes.

    Iterating gives the batches of the epoch last set by `seek`, from the batch it named.

    Attributes:
        channels: Of the further layers that every tile has, by name.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    workers: int = 0
    pin_memory: bool = False
    share: Share = WHOLE
    channels: Mapping[str, int] = field(factory=dict)
    _keys: Keys = field(init=False)
    _loader: DataLoader[Tiles] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keys = Keys(len(self.source), self.batch_size, self.seed, self.shuffle, share=self.share)
        self._loader = self._new_loader()

    def _new_loader(self) -> DataLoader[Tiles]:
        return DataLoader(
            SourceDataset(self.source, self.channels),
            batch_sampler=self._keys,
            collate_fn=return_unchanged,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.workers > 0,
            generator=torch.Generator(),  # its own: starting an epoch must not move the generator dropout uses
        )

    def __len__(self) -> int:
        """Batches of an epoch; where it reads every so manieth of them, those of its share."""
        share = self.share
        return len(range(share.part, len(self._keys), share.parts)) if share.of == "batches" else len(self._keys)

    def weight(self, batch: int) -> float:
        return self._keys.weight(batch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        self._keys.epoch, self._keys.start = epoch, batch

    def read(self, epoch: int, batch: int) -> Tiles:
        """One batch of an epoch, read here and now, whatever else is being read."""
        keys = evolve(self._keys, epoch=epoch, start=batch)
        return SourceDataset(self.source, self.channels).__getitems__(next(iter(keys)))

    def close(self) -> None:
        """End the loader processes, which otherwise live as long as this object. Iterating again starts new ones."""
        # Torch has no public way; an error that is being handled keeps the iterator, and so its processes, alive.
        if (iterator := getattr(self._loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()
        self._loader = self._new_loader()

    def __iter__(self) -> Iterator[Tiles]:
        """The batches; loader processes that die are started again, where they were, up to `LIVES` times.

        Raises:
            DataError: They keep dying.
        """
        lives, done, first = LIVES, 0, self._keys.start
        try:
            while True:
                self._keys.start = first + done
                try:
                    with keep_child_signals():
                        batches = iter(self._loader)
                    for tiles in batches:
                        done, lives = done + 1, LIVES
                        yield tiles
                    return
                except ForestgapsError as error:
                    if sentence := find_loader_error(error):
                        raise type(error)(sentence) from error
                    raise
                except (RuntimeError, OSError, EOFError) as error:
                    if not (self.workers and is_worker_death(error)):
                        raise
                    lives -= 1
                    if not lives:
                        raise DataError(
                            f"loader processes died {LIVES} times at batch {first + done + 1}, most likely for lack of memory "
                            f"({shorten_error(error)}); use fewer environment.workers, smaller tiles or a smaller batch"
                        ) from error
                    log.warning(
                        "a loader process died (%s), most likely for lack of memory; starting it again", shorten_error(error)
                    )
                    self._loader = self._new_loader()
        finally:
            self._keys.start = first


def describe_source(source: object) -> str:
    return f"the data source {format_class(type(source))}"


def find_loader_error(error: ForestgapsError) -> str:
    """The sentence of an error that torch has wrapped into the traceback of a loader process; '' if it has not."""
    head, mark, sentence = str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")
    return sentence.strip() if mark and "DataLoader worker process" in head else ""


@contextmanager
def keep_child_signals() -> Iterator[None]:
    """Undo what torch does to SIGCHLD when it starts loader processes: its handler raises in whatever code is running when one
    of them dies, such as an optimizer step. Without it a death is noticed in waiting for the next batch.
    """
    number = getattr(signal, "SIGCHLD", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    yield
    if signal.getsignal(number) is not before:
        signal.signal(number, before if before is not None else signal.SIG_DFL)


def is_worker_death(error: RuntimeError | OSError | EOFError) -> bool:
    """Whether a loader process ended on its own: torch says so, or it was gone before the tensors it had announced were fetched.

    What a source raised comes with words of its own and says where: caught in a DataLoader worker process.
    """
    said = str(error)
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError):  # its socket is closed, or not there any more
        return "DataLoader worker" not in said
    return "DataLoader worker" in said and ("killed by signal" in said or "exited unexpectedly" in said)


def shorten_error(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
