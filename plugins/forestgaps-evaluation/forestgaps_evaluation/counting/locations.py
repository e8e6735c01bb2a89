"""Where tiles lie: those that lie together are no independent witnesses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from forestgaps_core.components import Source


@runtime_checkable
class HasBlocks(Protocol):
    """What a `Source` may have besides: it knows which of its tiles are neighbors."""

    def block(self, index: int) -> int | str:
        """The spatial block of a tile, by any name. Tiles of different blocks count as independent, those of one do not."""


def list_blocks(source: Source, indices: Iterable[int]) -> tuple[str, ...]:
    """The block of each tile; where the source knows none, each tile is one of its own."""
    if isinstance(source, HasBlocks):
        return tuple(str(source.block(index)) for index in indices)
    return tuple(f"tile {index}" for index in indices)


@runtime_checkable
class HasSites(Protocol):
    """What a `Source` of several sites may have besides."""

    def site(self, index: int) -> str:
        """The site of a tile, by name."""


def list_sites(source: Source, indices: Iterable[int]) -> tuple[str, ...]:
    """The site of each tile; empty where the source knows none."""
    return tuple(source.site(index) for index in indices) if isinstance(source, HasSites) else ()
