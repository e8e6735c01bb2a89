"""Where tiles are: sites, and spatial blocks of correlated tiles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from forestgaps_core.components import Source


@runtime_checkable
class HasBlocks(Protocol):
    """A `Source` that assigns its tiles to spatial blocks."""

    def block(self, index: int) -> int | str:
        """Return the name of the spatial block of a tile. Tiles of different blocks are treated as independent."""


def list_blocks(source: Source, indices: Iterable[int]) -> tuple[str, ...]:
    """Return the block of each tile; if the source has no blocks, each tile is a block."""
    if isinstance(source, HasBlocks):
        return tuple(str(source.block(index)) for index in indices)
    return tuple(f"tile {index}" for index in indices)


@runtime_checkable
class HasSites(Protocol):
    """A `Source` that assigns its tiles to sites."""

    def site(self, index: int) -> str:
        """Return the name of the site of a tile."""


def list_sites(source: Source, indices: Iterable[int]) -> tuple[str, ...]:
    """Return the site of each tile; empty if the source has no sites."""
    return tuple(source.site(index) for index in indices) if isinstance(source, HasSites) else ()
