"""Build polygons from the edges of outlines: ordered rings, holes in their polygons, all valid.

Pixels of a gap may touch only at a corner, and rings through such corners would make polygons invalid. Here an outline first
turns around each of the two pixels, so that every ring surrounds pixels with common sides. A ring that reaches a corner twice
is divided there, which makes a hole that touches the ring at a point. The result is valid: no ring crosses itself, and the
interior of each polygon is connected, because its pixels are. A gap is a multipolygon; its parts touch at corners.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import shapely
from attrs import frozen
from numpy.typing import NDArray
from rasterio import Affine
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from forestgaps_gaps.detection.gap_table import Integers
from forestgaps_gaps.detection.outlines import Edges

Geometries: TypeAlias = NDArray[Any]  # of shapely


@frozen(eq=False)
class Rings:
    """Closed rings along pixel sides, in the order of their first edge.

    Attributes:
        label: (rings,) number of the gap.
        begins: (rings + 1,) index of the first edge of each ring in `order`.
        order: Edges, ring after ring, with the gap on the left.
        area: (rings,) pixels inside, negative for holes.
    """

    label: Integers
    begins: Integers
    order: Integers
    area: Integers


def build_polygons(edges: Edges, transform: Affine) -> tuple[Integers, Geometries]:
    """Build the multipolygons of complete gaps, with holes.

    Args:
        transform: From pixels to the CRS, not rotated.

    Returns:
        Gap numbers, ascending, and their valid multipolygons. Area and length are those of pixels and pixel sides.
    """
    if not len(edges):
        return np.empty(0, np.int64), np.empty(0, object)
    rings = chain_edges(edges)
    shell = assign_shells(edges, rings)
    order = np.lexsort((np.arange(len(shell)), rings.area < 0, shell, rings.label[shell]))  # shells before their holes
    sizes = np.diff(rings.begins)[order]
    ends = np.cumsum(sizes)
    place = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes) + np.repeat(rings.begins[:-1][order], sizes)
    edge = rings.order[place]
    below = edges.below[edge]
    first, second = edges.x[2 * edge + below], edges.x[2 * edge + 1 - below]
    points = np.empty((2 * len(edge) + len(order), 2))
    at = np.arange(len(edge)) * 2 + np.repeat(np.arange(len(order)), sizes)
    points[at, 0], points[at + 1, 0] = first, second
    points[at, 1] = points[at + 1, 1] = edges.y[edge]
    closing = 2 * ends + np.arange(len(order))
    points[closing] = points[closing - 2 * sizes]
    points = points * (transform.a, transform.e) + (transform.c, transform.f)
    of_ring = np.append(0, closing + 1)
    of_polygon = np.append(np.flatnonzero(rings.area[order] > 0), len(order))
    label, of_gap = np.unique(rings.label[order][of_polygon[:-1]], return_index=True)
    offsets = (of_ring, of_polygon, np.append(of_gap, len(of_polygon) - 1))
    return label, shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, points, offsets)


def chain_edges(edges: Edges) -> Rings:
    """Return rings that reach no corner twice."""
    ends = np.arange(len(edges)) * 2 + np.where(edges.below, 0, 1)  # with the gap on the left, northern sides run west
    own = np.arange(2 * len(edges))
    ring, _ = find_cycles(edges.joined[ends] >> 1)
    east, west = own[1:-1:2], own[2::2]  # the two turns at a corner follow each other
    same = (edges.y[:-1] == edges.y[1:]) & (edges.x[east] == edges.x[west]) & (ring[:-1] == ring[1:])
    other = own.copy()
    other[east[same]], other[west[same]] = west[same], east[same]
    follows = other[edges.joined[other[ends]]] >> 1
    ring, count = find_cycles(follows)
    first = np.full(count, len(edges))
    np.minimum.at(first, ring, np.arange(len(edges)))
    rank = np.empty(count, np.int64)
    rank[np.argsort(first)] = np.arange(count)
    ring, first = rank[ring], np.sort(first)
    sizes = np.bincount(ring, minlength=count)
    begins = np.append(0, np.cumsum(sizes))
    left = count_steps_to_first(follows, first)
    order = np.empty(len(edges), np.int64)
    order[begins[ring] + np.where(left == 0, 0, sizes[ring] - left)] = np.arange(len(edges))
    width = (edges.x[1::2] - edges.x[::2]).astype(np.int64) * np.where(edges.below, -1, 1)
    area = np.zeros(count, np.int64)
    np.add.at(area, ring, width * edges.y)
    return Rings(edges.label[first].astype(np.int64), begins, order, area)


def find_cycles(follows: Integers) -> tuple[Integers, int]:
    """Return the cycle of each item, and the number of cycles."""
    size = len(follows)
    graph = csr_array((np.ones(size, bool), follows, np.arange(size + 1)), shape=(size, size))
    count, cycle = connected_components(graph, directed=False)
    return cycle.astype(np.int64), int(count)


def count_steps_to_first(follows: Integers, first: Integers) -> Integers:
    """Return the steps from each item to the first of its cycle, by doubling the stride until all have arrived."""
    target, steps = follows.copy(), np.ones(len(follows), np.int64)
    arrived = np.zeros(len(follows), bool)
    arrived[first] = True
    target[first], steps[first] = first, 0
    on_the_way = np.flatnonzero(~arrived[target])
    while len(on_the_way):
        stop = target[on_the_way]
        further, more = target[stop], steps[stop]
        target[on_the_way] = further
        steps[on_the_way] += more
        on_the_way = on_the_way[~arrived[further]]
    return steps


def assign_shells(edges: Edges, rings: Rings) -> Integers:
    """Return for each ring the outer ring of its polygon; for an outer ring, itself."""
    count = len(rings.label)
    outer = rings.area > 0
    found = np.arange(count)
    only = np.zeros(int(rings.label.max()) + 1, np.int64)
    np.add.at(only, rings.label[outer], 1)
    single = np.zeros(len(only), np.int64)
    single[rings.label[outer]] = np.flatnonzero(outer)
    simple = ~outer & (only[rings.label] == 1)
    found[simple] = single[rings.label[simple]]
    holes = np.flatnonzero(~outer & ~simple)
    if len(holes):
        found[holes] = find_enclosing_shells(edges, rings, holes, np.flatnonzero(outer & np.isin(rings.label, rings.label[holes])))
    return found


def find_enclosing_shells(edges: Edges, rings: Rings, holes: Integers, candidates: Integers) -> Integers:
    """Return the smallest outer ring of the gap around each hole. The pixel north of a hole is in its polygon."""
    edge = rings.order[rings.begins[holes]]  # a ring begins with its northernmost edge
    points = shapely.points(edges.x[2 * edge] + 0.5, edges.y[edge] - 0.5)
    sizes = np.diff(rings.begins)[candidates]
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(rings.begins[:-1][candidates], sizes)
    edge = rings.order[place]
    below = edges.below[edge]
    corners = np.stack([edges.x[2 * edge + below], edges.y[edge], edges.x[2 * edge + 1 - below], edges.y[edge]], 1).reshape(-1, 2)
    areas = shapely.polygons(shapely.linearrings(corners.astype(float), indices=np.repeat(np.arange(len(candidates)), 2 * sizes)))
    which, point = shapely.STRtree(points).query(areas, predicate="contains")
    fits = rings.label[candidates[which]] == rings.label[holes[point]]
    which, point = which[fits], point[fits]
    order = np.lexsort((rings.area[candidates[which]], point))
    which, point = which[order], point[order]
    hole, smallest = np.unique(point, return_index=True)
    if len(hole) != len(holes):
        raise RuntimeError("a hole is not inside a polygon of its gap")
    around: Integers = candidates[which[smallest]]
    return around
