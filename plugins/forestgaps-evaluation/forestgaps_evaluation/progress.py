"""A bar while a network goes through its tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from forestgaps_core.components import Tiles

Passed = Callable[[Iterable[Tiles]], Iterable[Tiles]]


@contextmanager
def bar(name: str, *, shown: bool) -> Iterator[Passed]:
    """What passes batches on and counts them, on the error stream, so that results can be piped."""
    if not shown:
        yield iter
        return
    with Progress(console=Console(stderr=True)) as progress:
        yield lambda batches: progress.track(batches, description=name)
