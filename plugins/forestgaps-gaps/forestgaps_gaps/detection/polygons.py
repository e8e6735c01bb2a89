"""Polygons from the edges of outlines: rings in order, holes in their polygons, every one valid.

Pixels of one gap may touch at a corner only, and rings through such corners are what makes polygons invalid. Here an outline
first turns around each of the two pixels, so that every ring goes around pixels joined by sides. A ring that then comes to one
corner twice is parted there, which makes a hole that touches it at a point. What results is valid: no ring meets itself, and the
inside of each polygon is connected because its pixels are, by sides. A gap is the multipolygon of them; parts touch at corners.
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
        label: (rings,) the gap's number.
        begins: (rings + 1,) where the edges of each ring begin in `order`.
        order: The edges, ring after ring, one after another with the gap on the left.
        area: (rings,) pixels within, negative for holes.
    """

    label: Integers
    begins: Integers
    order: Integers
    area: Integers


def build_polygons(edges: Edges, transform: Affine) -> tuple[Integers, Geometries]:
    """Multipolygons of complete gaps, holes kept.

    Args:
        transform: From pixels to the CRS, not rotated.

    Returns:
        Gap numbers, ascending, and as many valid multipolygons. Area and length are those of pixels and of pixel sides.
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
    """Rings that come to no corner twice."""
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
    """The cycle each item is in, and how many there are."""
    size = len(follows)
    graph = csr_array((np.ones(size, bool), follows, np.arange(size + 1)), shape=(size, size))
    count, cycle = connected_components(graph, directed=False)
    return cycle.astype(np.int64), int(count)


def count_steps_to_first(follows: Integers, first: Integers) -> Integers:
    """Steps from each item to the first of its cycle, by doubling the stride until all have arrived."""
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
    """For each ring the ring around its polygon: itself for a shell."""
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
    """The smallest of several shells of one gap around each hole; the pixel north of the hole lies in its polygon."""
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
        raise RuntimeError("a hole lies in no polygon of its gap")
    around: Integers = candidates[which[smallest]]
    return around
