"""The classes of changes between two dates: new, closed, grown, shrunk, stable, shifted, merged, split, regrouped.

Gaps of both dates that overlap, directly or through other gaps, form a group, and each group is one change. Only pixels surveyed at
both dates count. Every pixel has one of `TRANSITIONS`. The areas of the groups add up to those of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from forestgaps_geo.gap_labeling import Labels, label_raster

Flags: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]
Bytes: TypeAlias = NDArray[np.uint8]
ReadMap: TypeAlias = Callable[[int, int], tuple[Flags, Flags]]
"""Called with (first row, number of rows); returns (gap, surveyed), (rows, columns) bool each. Called repeatedly."""

CANOPY, STABLE, NEW, CLOSED, NODATA = 0, 1, 2, 3, 255
TRANSITIONS: Mapping[int, str] = {
    CANOPY: "canopy",
    STABLE: "gap at both dates",
    NEW: "new gap",
    CLOSED: "closed gap",
    NODATA: "no data",
}
CLASSES = ("new", "closed", "grown", "shrunk", "stable", "shifted", "merged", "split", "regrouped")


@frozen(eq=False, kw_only=True)
class GapFate:
    """The gaps of one date, numbered from 1 in reading order, in columns of equal length.

    Attributes:
        pixels: Pixels surveyed at both dates.
        shared: Pixels that are gap at both dates.
        change: Row in `Changes`, from 0.
    """

    pixels: Integers
    shared: Integers
    change: Integers


@frozen(eq=False, kw_only=True)
class Changes:
    """A row for each change, in the order of the first pixels of their gaps.

    Attributes:
        kind: Index into `CLASSES`.
        earlier_gaps, later_gaps: Number of gaps of each date.
        earlier, later, both: Pixels that are gap at each date, and at both. later - both are new, earlier - both are closed.
        row, column: Centroid of all pixels, as in `GapTable`.
        earlier_fate, later_fate: The gaps of each date.
        surveyed: Pixels surveyed at both dates.
    """

    kind: Integers
    earlier_gaps: Integers
    later_gaps: Integers
    earlier: Integers
    later: Integers
    both: Integers
    row: Reals
    column: Reals
    earlier_fate: GapFate
    later_fate: GapFate
    surveyed: int

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def names(self) -> list[str]:
        return [CLASSES[kind] for kind in self.kind]


def compare_maps(
    earlier: ReadMap,
    later: ReadMap,
    rows: int,
    columns: int,
    *,
    connectivity: int = 8,
    at_least: int = 1,
    at_most: int | None = None,
    tolerance: float = 0.1,
    step: int | None = None,
    write: Callable[[int, Bytes], None] | None = None,
) -> Changes:
    """Compare two gap maps of one grid, in strips. Memory grows with the number of gaps, not with the area.

    Args:
        at_least, at_most: Limits on the pixels of a gap, at its own date. Pixels of other gaps count as canopy.
        tolerance: A gap whose area changes by at most this fraction of the earlier area is stable, or shifted if less than half of
            its area is gap at both dates.
        step: Rows of a strip. It affects only memory and time.
        write: Called for each strip with (first row, (rows, columns) bytes of `TRANSITIONS`).
    """

    @lru_cache(maxsize=1)
    def strip(row: int, count: int) -> tuple[Flags, Flags, Flags]:
        """Return the gap pixels of each date within the common survey, and that survey."""
        (first, one), (second, other) = earlier(row, count), later(row, count)
        valid = one & other
        return first & valid, second & valid, valid

    def gaps_of(date: int) -> Labels:
        return label_raster(
            lambda row, count: strip(row, count)[date],
            rows,
            columns,
            connectivity=connectivity,
            at_least=at_least,
            at_most=at_most,
            step=step,
        )

    before, after = gaps_of(0), gaps_of(1)
    pairs: list[Integers] = []
    counts: list[Integers] = []
    valid = 0
    middles = tuple(np.zeros((3, labels.count + 1)) for labels in (before, after))  # pixels, rows, columns; each pixel once
    for one, other in zip(before.strips(), after.strips(), strict=True):
        first, second = one.labels, other.labels
        seen = strip(one.row, len(first))[2]
        valid += int(seen.sum())
        both = (first > 0) & (second > 0)
        key, count = np.unique(first[both].astype(np.int64) * (after.count + 1) + second[both], return_counts=True)
        pairs.append(key)
        counts.append(count)
        for total, labels, where in zip(middles, (first, second), (first > 0, (second > 0) & ~both), strict=True):
            sum_centroids(total, labels, where, one.row)
        if write is not None:
            kinds = np.select([~seen, both, second > 0, first > 0], [NODATA, STABLE, NEW, CLOSED], CANOPY)
            write(one.row, kinds.astype(np.uint8))
    key, place = np.unique(np.concatenate([*pairs, np.empty(0, np.int64)]), return_inverse=True)
    shared = np.bincount(place, weights=np.concatenate([*counts, np.empty(0)]), minlength=len(key)).astype(np.int64)
    return group_gaps(before, after, np.divmod(key, after.count + 1), shared, middles, valid, tolerance)


def sum_centroids(total: Reals, labels: NDArray[np.int32], where: Flags, row: int) -> None:
    """Add up pixels and their centers by label."""
    y, x = np.nonzero(where)
    which, size = labels[y, x], total.shape[1]
    for line, weights in zip(total, (None, y + (row + 0.5), x + 0.5), strict=True):
        line += np.bincount(which, weights=weights, minlength=size)


def group_gaps(
    before: Labels,
    after: Labels,
    pairs: tuple[Integers, Integers],
    shared: Integers,
    middles: tuple[Reals, ...],
    valid: int,
    tolerance: float,
) -> Changes:
    """Group gaps that overlap, directly or through other gaps, into changes.

    Args:
        pairs: Numbers of the gaps that overlap, earlier and later.
        shared: Common pixels of each pair.
    """
    first, second = pairs[0] - 1, pairs[1] - 1 + before.count
    gaps = before.count + after.count
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(gaps, gaps))
    change = connected_components(edges, directed=False)[1].astype(np.int64) if gaps else np.empty(0, np.int64)
    count = int(change.max(initial=-1)) + 1
    met = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(met, change, np.concatenate([before.first, after.first]))
    place = np.empty(count, np.int64)
    place[np.argsort(met, kind="stable")] = np.arange(count)
    one, other = np.split(place[change], [before.count])

    def total(of: Integers, weights: NDArray[Any] | None = None) -> Integers:
        return np.bincount(of, weights=weights, minlength=count).astype(np.int64)

    earlier_gaps, later_gaps, both = total(one), total(other), total(one[first], shared)
    earlier, later = total(one, before.pixels), total(other, after.pixels)
    sums = [
        sum(np.bincount(of, weights=middle[line, 1:], minlength=count) for of, middle in zip((one, other), middles, strict=True))
        for line in range(3)
    ]
    return Changes(
        kind=classify_changes(earlier_gaps, later_gaps, earlier, later, both, tolerance),
        earlier_gaps=earlier_gaps,
        later_gaps=later_gaps,
        earlier=earlier,
        later=later,
        both=both,
        row=np.asarray(sums[1] / sums[0]),
        column=np.asarray(sums[2] / sums[0]),
        earlier_fate=make_fate(before, first, shared, one),
        later_fate=make_fate(after, second - before.count, shared, other),
        surveyed=valid,
    )


def make_fate(labels: Labels, gap: Integers, shared: Integers, change: Integers) -> GapFate:
    common = np.bincount(gap, weights=shared, minlength=labels.count).astype(np.int64)
    return GapFate(pixels=labels.pixels, shared=common, change=change)


def classify_changes(
    earlier_gaps: Integers, later_gaps: Integers, earlier: Integers, later: Integers, both: Integers, tolerance: float
) -> Integers:
    """Return the class of each change, from its numbers of gaps and pixels at each date."""
    single, margin = (earlier_gaps == 1) & (later_gaps == 1), tolerance * earlier
    which = [
        earlier_gaps == 0,
        later_gaps == 0,
        single & (later - earlier > margin),
        single & (earlier - later > margin),
        single & (2 * both >= np.maximum(earlier, later)),
        single,
        (earlier_gaps > 1) & (later_gaps == 1),
        (earlier_gaps == 1) & (later_gaps > 1),
    ]
    return np.select(which, list(range(len(which))), len(which)).astype(np.int64)
