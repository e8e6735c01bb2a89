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

from forestgaps_rasters.prediction.window_grid import BlockIndex, WindowAxis, WindowGrid

NODATA = 255
FULL_WEIGHT = 256  # the whole weight

ByteArray = NDArray[np.uint8]


def compute_blend_weights(feather: int) -> NDArray[np.uint16]:
    """Weights of the second of two blocks over the 2 x `feather` pixels along their border; with those of the first
    `FULL_WEIGHT`.
    """
    place = (np.arange(2 * feather) + 0.5) / (2 * feather) if feather else np.empty(0)
    weight: NDArray[np.uint16] = np.rint(FULL_WEIGHT * np.sin(np.pi / 2 * place) ** 2).astype(np.uint16)
    return weight


def blend_values(first: ByteArray, second: ByteArray, weight: NDArray[np.uint16]) -> ByteArray:
    """Both by their weights, rounded. Where both hold `NODATA` so does the result."""
    total = first * (FULL_WEIGHT - weight) + second * weight  # at most 255 x 256 in 16 bits
    return ((total + np.uint16(FULL_WEIGHT // 2)) >> np.uint16(8)).astype(np.uint8)


@frozen(eq=False)
class Piece:
    """Finished pixels of all bands from one column on: (K, rows, columns)."""

    column: int
    values: ByteArray


@frozen(eq=False)
class Strip:
    """Finished rows.

    Attributes:
        pieces: What holds data in them, from left to right. There is no data beside them.
    """

    row: int
    rows: int
    pieces: tuple[Piece, ...]


def assemble_strips(window_grid: WindowGrid, planes: int, block: Callable[[BlockIndex], ByteArray | None]) -> Iterator[Strip]:
    """The raster in strips from the top, one for each line of blocks.

    Args:
        planes: K.
        block: What was kept of a block, (K, h, w) with `window_grid.shape`; None where there is no data in it. Called in order.
    """
    down, shared = window_grid.down, 2 * window_grid.down.feather
    weight = compute_blend_weights(down.feather)[:, None]
    held: list[Piece] = []  # the rows beside the border that the last line shares with the next
    for place in range(len(down)):
        blocks = [block((place, column)) for column in range(len(window_grid.right))]
        first, last = down.get_kept_range(place)
        rows = last - first - (shared if place + 1 < len(down) else 0)
        lines = [join_blocks(run, left, window_grid.right, planes, last - first) for left, run in find_runs(blocks)]
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
    top[...] = blend_values(above.values[:, :, first - above.column : last - above.column], top, weight)


def find_runs(blocks: list[ByteArray | None]) -> Iterator[tuple[int, list[ByteArray]]]:
    """Neighbors with data in a line of blocks, with the place of the first."""
    run: list[ByteArray] = []
    for place, values in enumerate([*blocks, None]):
        if values is not None:
            run.append(values)
        elif run:
            yield place - len(run), run
            run = []


def join_blocks(run: list[ByteArray], left: int, right: WindowAxis, planes: int, rows: int) -> Piece:
    """Neighboring blocks of a line side by side."""
    begin, end = right.get_kept_range(left)[0], right.get_kept_range(left + len(run) - 1)[1]
    line = np.empty((planes, rows, end - begin), np.uint8)
    weight, width = compute_blend_weights(right.feather), 2 * right.feather
    for number, values in enumerate(run):
        first, last = (column - begin for column in right.get_kept_range(left + number))
        line[:, :, first:last] = values
        if number and width:
            line[:, :, first : first + width] = blend_values(run[number - 1][:, :, -width:], values[:, :, :width], weight)
    return Piece(begin, line)
