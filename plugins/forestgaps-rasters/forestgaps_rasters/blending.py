"""From blocks to a seamless raster, strip by strip.

Beside the border of two blocks both have an answer. There the weight goes over from one to the other along a quarter of a sine, in
whole numbers: where the two agree nothing changes, and the order of thresholds is kept. One line of blocks is held at a
time, and of it what holds data: memory is proportional to window times width, never to area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_rasters.tiling import Axis, Item, Lattice

NODATA = 255
ONE = 256  # the whole weight

Bytes = NDArray[np.uint8]


def rise(feather: int) -> NDArray[np.uint16]:
    """Weights of the second of two blocks over the 2 x `feather` pixels along their border; with those of the first `ONE`."""
    place = (np.arange(2 * feather) + 0.5) / (2 * feather) if feather else np.empty(0)
    weight: NDArray[np.uint16] = np.rint(ONE * np.sin(np.pi / 2 * place) ** 2).astype(np.uint16)
    return weight


def mixed(first: Bytes, second: Bytes, weight: NDArray[np.uint16]) -> Bytes:
    """Both by their weights, rounded. Where both hold `NODATA` so does the result."""
    total = first * (ONE - weight) + second * weight  # at most 255 x 256 in 16 bits
    return ((total + np.uint16(ONE // 2)) >> np.uint16(8)).astype(np.uint8)


@frozen(eq=False)
class Piece:
    """Finished pixels of all bands from one column on: (K, rows, columns)."""

    column: int
    values: Bytes


@frozen(eq=False)
class Strip:
    """Finished rows.

    Attributes:
        pieces: What holds data in them, from left to right. There is no data beside them.
    """

    row: int
    rows: int
    pieces: tuple[Piece, ...]


def assembled(lattice: Lattice, planes: int, block: Callable[[Item], Bytes | None]) -> Iterator[Strip]:
    """The raster in strips from the top, one for each line of blocks.

    Args:
        planes: K.
        block: What was kept of a block, (K, h, w) with `lattice.shape`; None where there is no data in it. Called in order.
    """
    down, shared = lattice.down, 2 * lattice.down.feather
    weight = rise(down.feather)[:, None]
    held: list[Piece] = []  # the rows beside the border that the last line shares with the next
    for place in range(len(down)):
        blocks = [block((place, column)) for column in range(len(lattice.right))]
        first, last = down.kept(place)
        rows = last - first - (shared if place + 1 < len(down) else 0)
        lines = [joined(run, left, lattice.right, planes, last - first) for left, run in runs(blocks)]
        for line in lines:
            for above in held:
                blend_below(above, line, weight)
        held = [Piece(line.column, line.values[:, rows:].copy()) for line in lines] if shared else []
        yield Strip(first, rows, tuple(Piece(line.column, line.values[:, :rows]) for line in lines))


def blend_below(above: Piece, line: Piece, weight: NDArray[np.uint16]) -> None:
    """Blend the last rows of one line into the same rows, the first, of the next."""
    first = max(above.column, line.column)
    last = min(above.column + above.values.shape[2], line.column + line.values.shape[2])
    if first >= last:  # where one of the two has no data at all, neither has the other in the rows that they share
        return
    top = line.values[:, : above.values.shape[1], first - line.column : last - line.column]
    top[...] = mixed(above.values[:, :, first - above.column : last - above.column], top, weight)


def runs(blocks: list[Bytes | None]) -> Iterator[tuple[int, list[Bytes]]]:
    """Neighbours with data in a line of blocks, with the place of the first."""
    run: list[Bytes] = []
    for place, values in enumerate([*blocks, None]):
        if values is not None:
            run.append(values)
        elif run:
            yield place - len(run), run
            run = []


def joined(run: list[Bytes], left: int, right: Axis, planes: int, rows: int) -> Piece:
    """Neighbouring blocks of a line side by side."""
    begin, end = right.kept(left)[0], right.kept(left + len(run) - 1)[1]
    line = np.empty((planes, rows, end - begin), np.uint8)
    weight, width = rise(right.feather), 2 * right.feather
    for number, values in enumerate(run):
        first, last = (column - begin for column in right.kept(left + number))
        line[:, :, first:last] = values
        if number and width:
            line[:, :, first : first + width] = mixed(run[number - 1][:, :, -width:], values[:, :, :width], weight)
    return Piece(begin, line)
