"""A progress bar for the batches of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint

from forestgaps_core.components import Tiles
from forestgaps_core.output.progress import show_progress

PassBatches = Callable[[Iterable[Tiles]], Iterable[Tiles]]


@contextmanager
def show_batch_progress(name: str, *, shown: bool) -> Iterator[PassBatches]:
    """Show a progress bar; yield a function that counts the batches of an iterable while they are used."""
    with show_progress("batches", shown=shown) as report:

        def count(batches: Iterable[Tiles]) -> Iterator[Tiles]:
            total = length_hint(batches) or None
            report(name, 0, total)
            for number, batch in enumerate(batches, start=1):
                yield batch
                report(name, number, total)

        yield count
