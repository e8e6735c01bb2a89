"""Number the gaps of a raster of any size: strips are labeled one by one, and labels that touch at a seam are joined.

Numbers are final only after the whole raster was read, so it is read twice. `label_raster` reads all strips and keeps, for each
label of each strip, the number of its gap. `Labels.strip` labels a strip again and inserts the numbers. In between, memory
contains a few bytes for each label of each strip (about 100 during the joining), and no pixels.
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

from forestgaps_geo.grids.windows import Window, iterate_strips

Flags: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.int32]
ReadGaps: TypeAlias = Callable[[int, int], Flags]
"""Called with (first row, number of rows); returns (rows, columns) bool, True in a gap. Called repeatedly, with equal results."""

LABELED_PIXELS = 2**21  # pixels labeled at one time
CONNECTIVITIES = (4, 8)


@frozen(eq=False)
class Strip:
    """Some rows of a labeled raster.

    Attributes:
        row: The first row.
        local: (rows, columns) labels of this strip, 1 to n; 0 outside of gaps.
        numbers: (n + 1,) number of the gap of each local label, 0 for none. Several labels may have one number.
    """

    row: int
    local: NDArray[np.unsignedinteger]
    numbers: Numbers

    @property
    def labels(self) -> Numbers:
        """(rows, columns) int32: the number of the gap of each pixel, 0 for none."""
        labels: Numbers = self.numbers[self.local]
        return labels


@define(eq=False, kw_only=True)
class Labels:
    """The gaps of a raster, numbered from 1 in the order of their first pixels: row by row, from west to east.

    Attributes:
        rows, columns: Size of the raster.
        connectivity: 8 if pixels that touch at a corner are connected, 4 if only pixels with a common side are.
        count: Number of gaps within the limits on size.
        pixels: (count,) number of pixels of each gap.
        first: (count,) first pixel of each gap, row x columns + column.
        last_row: (count,) last row of each gap.
        windows: The strips. They affect only memory and time.
        read: Returns where gaps are. It must return equal results each time.
    """

    rows: int
    columns: int
    connectivity: int
    count: int
    pixels: Integers
    first: Integers
    last_row: Integers
    windows: tuple[Window, ...]
    read: ReadGaps
    _numbers: Numbers = field(repr=False)
    _begins: Integers = field(repr=False)

    def strip(self, index: int) -> Strip:
        """Return one strip. Strips may be requested in any order."""
        row, _, rows, _ = self.windows[index]
        local, count = label_components(self.read(row, rows), self.connectivity)
        begin, end = self._begins[index], self._begins[index + 1]
        if count != end - begin - 1:
            raise RuntimeError(f"the raster changed while it was read: {end - begin - 1} labels from row {row} on, then {count}")
        return Strip(row, local, self._numbers[begin:end])

    def strips(self, *, backwards: bool = False) -> Iterator[Strip]:
        """Yield all strips from north to south, or from south to north."""
        order = range(len(self.windows))
        return (self.strip(index) for index in (reversed(order) if backwards else order))


@define(eq=False)
class GapScan:
    """Labels strips from north to south, and records size and extent of each label. It keeps no pixels except the last row."""

    columns: int
    connectivity: int = 8
    rows: int = field(default=0, init=False)
    begins: list[int] = field(factory=lambda: [0], init=False)  # number of labels before each strip, with label 0 of each
    pixels: list[Integers] = field(factory=list, init=False)
    first: list[Integers] = field(factory=list, init=False)
    last: list[Integers] = field(factory=list, init=False)
    seams: list[Integers] = field(factory=list, init=False)
    above: Integers | None = field(default=None, init=False)  # labels along the last row, 0 outside of gaps

    def add(self, gap: Flags) -> None:
        """Add the next strip, (rows, columns), True in a gap."""
        local, count = label_components(gap, self.connectivity)
        where = np.flatnonzero(local)
        which = local.ravel()[where]
        place = where + self.rows * self.columns
        start, end = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
        start[which[::-1]] = place[::-1]  # the last value written stays: the first pixel
        end[which] = place
        self.pixels.append(np.bincount(which, minlength=count + 1))
        self.first.append(start)
        self.last.append(end)
        begin = self.begins[-1]
        if self.above is not None:
            self.seams.append(find_seam_pairs(self.above, local[0].astype(np.int64), begin, self.connectivity))
        self.above = np.where(local[-1] > 0, local[-1].astype(np.int64) + begin, 0)
        self.begins.append(begin + count + 1)
        self.rows += len(gap)

    def join(self) -> Gaps:
        """Return the gaps of all strips so far."""
        gap = join_labels(self.seams, self.begins[-1])
        counts, starts, ends = (np.concatenate([*parts, np.empty(0, np.int64)]) for parts in (self.pixels, self.first, self.last))
        total = int(gap.max(initial=-1)) + 1
        size, start, end = np.zeros(total, np.int64), np.full(total, self.rows * self.columns), np.zeros(total, np.int64)
        np.add.at(size, gap, counts)
        real = counts > 0
        np.minimum.at(start, gap[real], starts[real])
        np.maximum.at(end, gap[real], ends[real])
        return Gaps(gap=gap, pixels=size, first=start, last_row=end // max(self.columns, 1))


@frozen(eq=False, kw_only=True)
class Gaps:
    """The gaps of a `GapScan`, in any order. Those of 0 pixels stand for the pixels outside of gaps.

    Attributes:
        gap: (labels,) index of the gap of each label of each strip.
        pixels, first, last_row: As in `Labels`, by index.
    """

    gap: Integers
    pixels: Integers
    first: Integers
    last_row: Integers


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
        at_least: Pixels of the smallest gap. Other gaps get no number.
        at_most: Pixels of the largest gap; None for any.
        step: Rows of a strip; by default about two million pixels.
    """
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity is 4 or 8, not {connectivity}")
    windows = tuple(iterate_strips(rows, columns, LABELED_PIXELS if step is None else step * columns))
    scan = GapScan(columns, connectivity)
    for window in windows:
        scan.add(read(window.row, window.rows))
    gaps = scan.join()
    kept = np.flatnonzero((gaps.pixels >= max(at_least, 1)) & (gaps.pixels <= (rows * columns if at_most is None else at_most)))
    kept = kept[np.argsort(gaps.first[kept])]
    number = np.zeros(len(gaps.pixels), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return Labels(
        rows=rows,
        columns=columns,
        connectivity=connectivity,
        count=len(kept),
        pixels=gaps.pixels[kept],
        first=gaps.first[kept],
        last_row=gaps.last_row[kept],
        windows=windows,
        read=read,
        numbers=number[gaps.gap],
        begins=np.array(scan.begins),
    )


def label_components(gap: Flags, connectivity: int) -> tuple[NDArray[np.unsignedinteger], int]:
    """Label the connected pixels of one array from 1; return the labels and their number."""
    if not gap.size:
        return np.zeros(gap.shape, np.uint32), 0
    values = np.ascontiguousarray(gap).view(np.uint8)  # with bool, cc3d 4.1 has errors in 8-connected pixels on rasters of odd size
    local, count = cc3d.connected_components(values, connectivity=8 if connectivity == 8 else 4, return_N=True)
    return local, int(count)


def find_seam_pairs(above: Integers, below: Integers, begin: int, connectivity: int) -> Integers:
    """Return (n, 2) pairs of labels that touch across a seam. Labels of the row below are offset by `begin`."""
    width, pairs = len(above), []
    for shift in (-1, 0, 1) if connectivity == 8 else (0,):
        upper = above[max(shift, 0) : width + min(shift, 0)]
        lower = below[max(-shift, 0) : width + min(-shift, 0)]
        both = (upper > 0) & (lower > 0)
        pairs.append(np.stack([upper[both], lower[both] + begin], 1))
    return np.unique(np.concatenate(pairs), axis=0)


def join_labels(seams: list[Integers], labels: int) -> Integers:
    """Return the gap of each label, (labels,), numbered from 0 in any order."""
    pairs = np.concatenate([*seams, np.empty((0, 2), np.int64)])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(labels, labels))
    return connected_components(graph, directed=False)[1].astype(np.int64) if labels else np.empty(0, np.int64)


def label_array(gap: Flags, connectivity: int = 8) -> Numbers:
    """Number the gaps of an array in memory: (rows, columns), 0 outside of gaps."""
    rows, columns = gap.shape
    labels = label_raster(lambda row, count: gap[row : row + count], rows, columns, connectivity=connectivity, step=max(rows, 1))
    return labels.strip(0).labels if rows else np.zeros(gap.shape, np.int32)
