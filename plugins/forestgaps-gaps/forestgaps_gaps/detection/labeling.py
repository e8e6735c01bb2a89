"""Every gap its number, on rasters of any size: strips are labeled one by one, and what meets at a seam is joined.

Numbers are final only when the whole raster was seen, so it is read twice: `label_raster` looks once at all strips and keeps, for
each label of each strip, the number it belongs to; `Labels.strip` labels a strip again and puts the numbers in. Between the two,
memory holds a few bytes for each label of each strip (about 100 while they are joined), and none of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import cc3d
import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from forestgaps_gaps.detection.gap_table import Flags, Integers

Numbers: TypeAlias = NDArray[np.int32]
ReadGaps: TypeAlias = Callable[[int, int], Flags]
"""From a first row and how many: (rows, columns) bool, True in a gap. Read more than once, so it must tell the same each time."""

STRIP_PIXELS = 2**21  # pixels labeled at a time
CONNECTIVITIES = (4, 8)


@frozen(eq=False)
class Strip:
    """Some rows of a labeled raster.

    Attributes:
        row: The first of them.
        local: (rows, columns), 0 outside of gaps, otherwise a label that holds in this strip alone, 1 to n.
        numbers: (n + 1,) the gap's number for each local label, 0 for none; several labels may lead to one number.
    """

    row: int
    local: NDArray[np.unsignedinteger]
    numbers: Numbers

    @property
    def labels(self) -> Numbers:
        """(rows, columns) int32: the number of the gap a pixel belongs to, 0 for none."""
        labels: Numbers = self.numbers[self.local]
        return labels


@define(eq=False, kw_only=True)
class Labels:
    """The gaps of a raster, numbered from 1 in the order in which they are met row by row, west to east.

    Attributes:
        rows, columns: Size of the raster.
        connectivity: 8 if pixels that touch at a corner belong together, 4 if only those that share a side do.
        count: How many gaps there are, within the limits on their size.
        pixels: (count,) how many pixels each has.
        first: (count,) its first pixel, row x columns + column.
        last_row: (count,) the last row it reaches.
        step: Rows of a strip; it changes nothing but memory and time.
        read: Where gaps are; must go on to tell the same.
    """

    rows: int
    columns: int
    connectivity: int
    count: int
    pixels: Integers
    first: Integers
    last_row: Integers
    step: int
    read: ReadGaps
    _numbers: Numbers = field(repr=False)
    _begins: Integers = field(repr=False)

    def strip(self, index: int) -> Strip:
        """One strip, in any order."""
        row = index * self.step
        local, count = label_components(self.read(row, min(self.step, self.rows - row)), self.connectivity)
        begin, end = self._begins[index], self._begins[index + 1]
        if count != end - begin - 1:
            raise RuntimeError(f"the raster changed while it was read: {end - begin - 1} labels from row {row} on, then {count}")
        return Strip(row, local, self._numbers[begin:end])

    def strips(self, *, backwards: bool = False) -> Iterator[Strip]:
        """All strips from north to south, or from south to north."""
        order = range(len(self._begins) - 1)
        return (self.strip(index) for index in (reversed(order) if backwards else order))


def label_raster(
    read: ReadGaps,
    rows: int,
    columns: int,
    *,
    connectivity: int = 8,
    at_least: int = 1,
    at_most: int | None = None,
    step: int | None = None,
) -> Labels:
    """Number the gaps of a raster.

    Args:
        at_least, at_most: Pixels a gap must have; others get no number.
        step: Rows labeled at a time; left out, as many as make some two million pixels.
    """
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity is 4 or 8, not {connectivity}")
    step = step or max(STRIP_PIXELS // max(columns, 1), 1)
    pixels, first, last_row, sizes = [], [], [], [0]
    seams: list[Integers] = []
    above: Integers | None = None
    begin = 0
    for row in range(0, rows, step):
        local, count = label_components(read(row, min(step, rows - row)), connectivity)
        where = np.flatnonzero(local)
        which = local.ravel()[where]
        place = where + row * columns
        start, end = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
        start[which[::-1]] = place[::-1]  # the last to be written stays, so the first pixel
        end[which] = place
        pixels.append(np.bincount(which, minlength=count + 1))
        first.append(start)
        last_row.append(end // columns)
        if above is not None:
            seams.append(find_seam_pairs(above, local[0].astype(np.int64), begin, connectivity))
        above = np.where(local[-1] > 0, local[-1].astype(np.int64) + begin, 0)
        begin += count + 1  # with one for what is no gap
        sizes.append(begin)
    counts, starts, ends = (np.concatenate([*parts, np.empty(0, np.int64)]) for parts in (pixels, first, last_row))
    gap = join_labels(seams, begin)
    total = int(gap.max(initial=-1)) + 1
    size, start, end = np.zeros(total, np.int64), np.full(total, rows * columns), np.zeros(total, np.int64)
    np.add.at(size, gap, counts)
    real = counts > 0
    np.minimum.at(start, gap[real], starts[real])
    np.maximum.at(end, gap[real], ends[real])
    kept = np.flatnonzero((size >= max(at_least, 1)) & (size <= (rows * columns if at_most is None else at_most)))
    kept = kept[np.argsort(start[kept])]
    number = np.zeros(total, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return Labels(
        rows=rows,
        columns=columns,
        connectivity=connectivity,
        count=len(kept),
        pixels=size[kept],
        first=start[kept],
        last_row=end[kept],
        step=step,
        read=read,
        numbers=number[gap],
        begins=np.array(sizes),
    )


def label_components(gap: Flags, connectivity: int) -> tuple[NDArray[np.unsignedinteger], int]:
    """Connected pixels of one array, labeled from 1, and how many labels there are."""
    if not gap.size:
        return np.zeros(gap.shape, np.uint32), 0
    values = np.ascontiguousarray(gap).view(np.uint8)  # of bool, cc3d 4.1 mistakes 8-connected pixels on rasters of odd size
    local, count = cc3d.connected_components(values, connectivity=8 if connectivity == 8 else 4, return_N=True)
    return local, int(count)


def find_seam_pairs(above: Integers, below: Integers, begin: int, connectivity: int) -> Integers:
    """(n, 2) pairs of labels that touch across a seam; labels of the row below count from `begin`."""
    width, pairs = len(above), []
    for shift in (-1, 0, 1) if connectivity == 8 else (0,):
        upper = above[max(shift, 0) : width + min(shift, 0)]
        lower = below[max(-shift, 0) : width + min(-shift, 0)]
        both = (upper > 0) & (lower > 0)
        pairs.append(np.stack([upper[both], lower[both] + begin], 1))
    return np.unique(np.concatenate(pairs), axis=0)


def join_labels(seams: list[Integers], labels: int) -> Integers:
    """(labels,) the gap of each label, numbered from 0 in no order."""
    pairs = np.concatenate([*seams, np.empty((0, 2), np.int64)])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(labels, labels))
    return connected_components(graph, directed=False)[1].astype(np.int64) if labels else np.empty(0, np.int64)


def label_array(gap: Flags, connectivity: int = 8) -> Numbers:
    """The same for an array in memory: (rows, columns) numbers, 0 outside of gaps."""
    rows, columns = gap.shape
    labels = label_raster(lambda row, count: gap[row : row + count], rows, columns, connectivity=connectivity, step=max(rows, 1))
    return labels.strip(0).labels if rows else np.zeros(gap.shape, np.int32)
