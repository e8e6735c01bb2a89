"""Progress while a network goes through its tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint

from forestgaps_core.components import Tiles
from forestgaps_core.output.progress import show_progress

PassBatches = Callable[[Iterable[Tiles]], Iterable[Tiles]]


@contextmanager
def show_batch_progress(name: str, *, shown: bool) -> Iterator[PassBatches]:
    """What passes batches on and counts them."""
    with show_progress("batches", shown=shown) as report:

        def count(batches: Iterable[Tiles]) -> Iterator[Tiles]:
            total = length_hint(batches) or None
            report(name, 0, total)
            for number, batch in enumerate(batches, start=1):
                yield batch
                report(name, number, total)

        yield count
