"""Apply post-processing steps to a map that comes in strips. Memory depends on the width of the map and the halo, not its area."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from attrs import frozen

from forestgaps_rasters.postprocessing.steps import MapSteps
from forestgaps_rasters.prediction.blending import NODATA, ByteArray, Piece, Strip

PART_COLUMNS = 1024


@frozen(eq=False)
class MapPart:
    """Finished pixels of both maps, (K, rows, columns) each."""

    row: int
    column: int
    probabilities: ByteArray
    gaps: ByteArray


def process_strips(strips: Iterable[Strip], planes: int, steps: MapSteps) -> Iterator[tuple[Strip, list[MapPart]]]:
    """Yield each strip with the parts of both maps in it, as soon as the rows of the halo below it are there.

    Args:
        planes: K.
    """
    halo = steps.halo
    held: deque[Strip] = deque()  # from the halo above the next strip down
    waiting: deque[Strip] = deque()
    for strip in strips:
        held.append(strip)
        waiting.append(strip)
        end = strip.row + strip.rows
        while waiting and waiting[0].row + waiting[0].rows + halo <= end:
            yield process_strip(waiting.popleft(), held, planes, steps)
        needed = (waiting[0].row if waiting else end) - halo
        while held and held[0].row + held[0].rows <= needed:
            held.popleft()
    while waiting:
        yield process_strip(waiting.popleft(), held, planes, steps)


def process_strip(strip: Strip, held: Iterable[Strip], planes: int, steps: MapSteps) -> tuple[Strip, list[MapPart]]:
    if not steps.probabilities and not steps.gaps:
        return strip, [MapPart(strip.row, piece.column, *steps.apply(piece.values)) for piece in strip.pieces]
    parts = []
    for piece in strip.pieces:
        end = piece.column + piece.values.shape[2]
        for column in range(piece.column, end, PART_COLUMNS):
            columns = min(PART_COLUMNS, end - column)
            values = cut_part(strip, column, columns, held, planes, steps.halo)
            parts.append(MapPart(strip.row, column, *steps.apply(values)))
    return strip, parts


def cut_part(strip: Strip, column: int, columns: int, held: Iterable[Strip], planes: int, halo: int) -> ByteArray:
    """Return a part of the map with its halo, without data where the raster has ended."""
    top, left = strip.row - halo, column - halo
    part = np.full((planes, strip.rows + 2 * halo, columns + 2 * halo), NODATA, np.uint8)
    for other in held:
        for piece in other.pieces:
            paste(piece, other.row, part, top, left)
    return part


def paste(piece: Piece, row: int, part: ByteArray, top: int, left: int) -> None:
    """Write into the part what the piece has of it."""
    first, last = max(row, top), min(row + piece.values.shape[1], top + part.shape[1])
    begin, end = max(piece.column, left), min(piece.column + piece.values.shape[2], left + part.shape[2])
    if first < last and begin < end:
        part[:, first - top : last - top, begin - left : end - left] = piece.values[
            :, first - row : last - row, begin - piece.column : end - piece.column
        ]
