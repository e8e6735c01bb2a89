"""From blocks to a seamless raster, strip by strip.

Beside the border of two blocks both have an answer. There the weight goes over from one to the other along a quarter of a sine, in
whole numbers: where the two agree nothing changes, and the order of thresholds is kept. One line of blocks is held at a
time: memory is proportional to window times width, never to area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_rasters.lattice import Axis, Item, Lattice

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
class Strip:
    """Finished rows of all bands: (K, rows, columns).

    Attributes:
        empty: There is no data in any of them; `values` then takes no memory.
    """

    row: int
    values: Bytes
    empty: bool = False


def assembled(lattice: Lattice, planes: int, block: Callable[[Item], Bytes | None]) -> Iterator[Strip]:
    """The raster in strips from the top, one for each line of blocks.

    Args:
        planes: K.
        block: What was kept of a block, (K, h, w) with `lattice.shape`; None where there is no data in it. Called in order.
    """
    down, feather = lattice.down, lattice.down.feather
    weight = rise(feather)[:, None]
    held: Bytes | None = None  # the rows beside the border that the last line shares with the next
    for place in range(len(down)):
        blocks = [block((place, column)) for column in range(len(lattice.right))]
        first, last = down.kept(place)
        if all(values is None for values in blocks):  # neither has the line above data in the rows that the two share
            last -= 2 * feather if place + 1 < len(down) else 0
            yield Strip(first, np.broadcast_to(np.uint8(NODATA), (planes, last - first, lattice.right.extent)), empty=True)
            held = None
            continue
        line = joined(blocks, lattice.right, planes, (first, last))
        if held is not None and feather:
            line[:, : 2 * feather] = mixed(held, line[:, : 2 * feather], weight)
        if place + 1 < len(down):
            held = line[:, line.shape[1] - 2 * feather :].copy()
            last -= 2 * feather
        yield Strip(first, line[:, : last - first])


def joined(blocks: list[Bytes | None], right: Axis, planes: int, rows: tuple[int, int]) -> Bytes:
    """A line of blocks side by side, (K, rows, columns)."""
    line = np.full((planes, rows[1] - rows[0], right.extent), NODATA, np.uint8)
    weight, width = rise(right.feather), 2 * right.feather
    for place, values in enumerate(blocks):
        first, last = right.kept(place)
        if values is None:  # no data: so says the neighbour too of what they share
            continue
        if place and width:
            before = blocks[place - 1]
            shared = values[:, :, :width] if before is None else mixed(before[:, :, -width:], values[:, :, :width], weight)
            line[:, :, first : first + width] = shared
            line[:, :, first + width : last] = values[:, :, width:]
        else:
            line[:, :, first:last] = values
    return line
