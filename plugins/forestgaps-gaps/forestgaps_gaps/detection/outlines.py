"""The outlines of gaps, collected strip by strip.

An outline follows pixel sides and turns at pixel corners. On a horizontal line between two rows of pixels, turns occur in
pairs: the west and east end of a straight edge. On a vertical line, they are the north and south end of an edge. Following the
lines therefore tells which turns are connected, without tracing pixels. Where two gap pixels touch only at a corner, the
outline turns twice, once around each pixel.

A vertical edge may continue through many strips: its north end waits for its south end. Edges are kept until their gap is
complete, about 40 bytes each, so memory is limited by the outlines of incomplete gaps.
"""

from __future__ import annotations

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from forestgaps_gaps.detection.gap_table import Flags, Integers
from forestgaps_geo.gap_labeling import Numbers

# Turns at a corner, by the pixels around it that are gap: north-west 1, north-east 2, south-west 4, south-east 8.
# (edge goes west, edge goes north, pixel of the turn), in the order along a horizontal line.
WEST_NORTH, EAST_NORTH, WEST_SOUTH, EAST_SOUTH = (True, True), (False, True), (True, False), (False, False)
CORNERS: dict[int, tuple[tuple[bool, bool, int], ...]] = {
    1: ((*WEST_NORTH, 0),),
    2: ((*EAST_NORTH, 1),),
    4: ((*WEST_SOUTH, 2),),
    8: ((*EAST_SOUTH, 3),),
    14: ((*WEST_NORTH, 3),),
    13: ((*EAST_NORTH, 3),),
    11: ((*WEST_SOUTH, 3),),
    7: ((*EAST_SOUTH, 0),),
    9: ((*WEST_NORTH, 0), (*EAST_SOUTH, 3)),
    6: ((*WEST_SOUTH, 2), (*EAST_NORTH, 1)),
}
TURN_COUNT = np.array([len(CORNERS.get(code, ())) for code in range(16)], np.uint8)
TURN_GOES_NORTH, TURN_PIXEL = (np.zeros((16, 2), np.uint8) for _ in range(2))
for _code, _turns in CORNERS.items():
    for _place, (_west, _north, _pixel) in enumerate(_turns):
        TURN_GOES_NORTH[_code, _place], TURN_PIXEL[_code, _place] = _north, _pixel


@frozen(eq=False)
class Edges:
    """n horizontal edges of outlines, from row to row and west to east, in pixels from the north-west corner of the raster.

    Attributes:
        label: Number of the gap.
        y: Line of the edge: the northern side of pixel row y.
        x: (2n,) western and eastern end of each edge.
        below: Whether the gap is south of the edge.
        joined: (2n,) for each end, the other end of its vertical edge; -1 if that is not known yet.
    """

    label: Numbers
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    below: Flags
    joined: Integers

    @classmethod
    def make_empty(cls) -> Edges:
        short = np.empty(0, np.int32)
        return cls(short, short, short, np.empty(0, bool), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.y)

    def select(self, chosen: Flags) -> tuple[Edges, Integers]:
        """Return the edges of some gaps, and the new index of each end."""
        ends = np.repeat(chosen, 2)
        place = np.cumsum(ends) - 1
        joined = self.joined[ends]
        return Edges(
            self.label[chosen], self.y[chosen], self.x[ends], self.below[chosen], np.where(joined < 0, -1, place[joined])
        ), place


@define(eq=False)
class Outlines:
    """Collects the edges of all gaps of a raster, from north to south.

    Attributes:
        columns: Columns of the raster.
        last_row: (count,) last row of each gap, by its number minus 1.
    """

    columns: int
    last_row: Integers
    _row: int = field(default=0, init=False)  # lines before this one are done
    _above: Numbers = field(init=False)
    _open: Edges = field(factory=Edges.make_empty, init=False)
    _waiting: Integers = field(init=False)  # per vertical line the north end of the edge that crosses the next row, or -1

    def __attrs_post_init__(self) -> None:
        self._above = np.zeros(self.columns, np.int32)
        self._waiting = np.full(self.columns + 1, -1, np.int64)

    def add(self, labels: Numbers) -> Edges:
        """Add the next strip, (rows, columns) numbers; return the edges of the gaps that are complete now."""
        found = self._turns(labels)
        self._above = labels[-1].copy()
        self._row += len(labels)
        return self._take(found)

    def finish(self) -> Edges:
        """Return the remaining edges at the end of the raster."""
        return self.add(np.zeros((1, self.columns), np.int32))

    def _turns(self, labels: Numbers) -> Edges:
        """Return the open edges and those on the lines north of the rows of the strip, joined where possible."""
        rows = len(labels)
        around = np.zeros((rows + 1, self.columns + 2), np.int32)
        around[0, 1:-1], around[1:, 1:-1] = self._above, labels
        gap = (around > 0).view(np.uint8)
        code = gap[:-1, :-1] | gap[:-1, 1:] << 1 | gap[1:, :-1] << 2 | gap[1:, 1:] << 3
        where = np.flatnonzero(TURN_COUNT[code])
        code = code.ravel()[where]
        line, x = np.divmod(where, self.columns + 1)
        times = TURN_COUNT[code]
        place = np.zeros(int(times.sum()), np.intp)
        place[np.cumsum(times)[times == 2] - 1] = 1  # the second turn at one corner
        code, line, x = np.repeat(code, times), np.repeat(line, times), np.repeat(x, times)
        pixel = TURN_PIXEL[code, place]
        label = around[line + pixel // 2, x + pixel % 2]
        first_new = 2 * len(self._open)
        joined = np.concatenate([self._open.joined, np.full(len(x), -1)])
        self._join(joined, first_new, line, x, TURN_GOES_NORTH[code, place] == 0, rows)
        west = slice(0, None, 2)
        return Edges(
            np.concatenate([self._open.label, label[west]]),
            np.concatenate([self._open.y, (line[west] + self._row).astype(np.int32)]),
            np.concatenate([self._open.x, x.astype(np.int32)]),
            np.concatenate([self._open.below, around[line[west] + 1, x[west] + 1] > 0]),
            joined,
        )

    def _join(self, joined: Integers, first_new: int, line: Integers, x: Integers, south: Flags, rows: int) -> None:
        """Join each end whose edge goes south to the next end on its vertical line."""
        waiting = np.flatnonzero(self._waiting >= 0)
        ends = np.concatenate([self._waiting[waiting], np.arange(first_new, len(joined))])
        key = np.concatenate([waiting * (rows + 1) * 2 + 1, (x * (rows + 1) + line + 1) * 2 + south])  # at a corner, north first
        order = np.argsort(key)
        ends, column, down = ends[order], key[order] // (2 * (rows + 1)), key[order] % 2 == 1
        starts = np.flatnonzero(down)
        following = np.minimum(starts + 1, len(ends) - 1)
        met = (following > starts) & (column[following] == column[starts])
        upper, lower = ends[starts[met]], ends[following[met]]
        joined[upper], joined[lower] = lower, upper
        self._waiting[:] = -1
        self._waiting[column[starts[~met]]] = ends[starts[~met]]

    def _take(self, edges: Edges) -> Edges:
        complete = self.last_row[edges.label - 1] < self._row - 1
        if not complete.any():
            self._open = edges
            return Edges.make_empty()
        done, _ = edges.select(complete)
        self._open, place = edges.select(~complete)
        waiting = self._waiting >= 0
        self._waiting[waiting] = place[self._waiting[waiting]]
        return done
