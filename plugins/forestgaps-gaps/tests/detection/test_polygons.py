from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import Affine
from rasterio.features import rasterize
from scipy import ndimage

from forestgaps_gaps.detection.outlines import Outlines
from forestgaps_gaps.detection.polygons import build_polygons
from forestgaps_geo.gap_labeling import label_raster

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=15), elements=st.booleans())
UNIT = Affine(1, 0, 0, 0, -1, 0)


def drawn(mask: np.ndarray, *, step: int = 100, connectivity: int = 8, transform: Affine = UNIT) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the polygons in the order of their numbers, got strip by strip."""
    labels = label_raster(lambda row, rows: mask[row : row + rows], *mask.shape, connectivity=connectivity, step=step)
    outlines, numbers, shapes, whole = Outlines(mask.shape[1], labels.last_row), [], [], []
    for strip in labels.strips():
        whole.append(strip.labels)
        number, shape = build_polygons(outlines.add(strip.labels), transform)
        numbers.append(number), shapes.append(shape)
    number, shape = build_polygons(outlines.finish(), transform)
    order = np.argsort(np.concatenate([*numbers, number]))
    assert np.concatenate([*numbers, number])[order].tolist() == list(range(1, labels.count + 1)), "each gap comes once"
    return np.concatenate(whole), np.concatenate([*shapes, shape])[order]


def edge_counts(labels: np.ndarray) -> list[int]:
    """Sides of pixels between each gap and anything else, the slow way."""
    framed, count = np.pad(labels, 1), np.zeros(labels.max(initial=0) + 1, int)
    for row, column in np.argwhere(framed):
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            count[framed[row, column]] += framed[row + down, column + right] != framed[row, column]
    return count[1:].tolist()


PINCHED = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], bool)  # two holes and the gap meet at one corner
ISLAND = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 1], [1, 0, 1, 1, 1, 0], [1, 0, 1, 0, 1, 0], [1, 0, 1, 1, 1, 0], [1, 1, 0, 0, 0, 1]], bool
)


@given(MASKS, st.integers(1, 16), st.sampled_from([4, 8]))
@example(PINCHED, 2, 8)
@example(ISLAND, 3, 8)
@example(np.indices((9, 9)).sum(0) % 2 == 0, 2, 8)
def test_polygons_are_valid_and_exact_whatever_the_strips(mask, step, connectivity) -> None:
    labels, shapes = drawn(mask, step=step, connectivity=connectivity)
    assert shapely.is_valid(shapes).all(), shapely.is_valid_reason(shapes)
    assert shapely.area(shapes).tolist() == np.bincount(labels.ravel())[1:].tolist()
    assert shapely.length(shapes).tolist() == edge_counts(labels)
    if len(shapes):
        back = rasterize(zip(shapes, range(1, len(shapes) + 1), strict=True), mask.shape, transform=UNIT, dtype="int32")
        assert np.array_equal(back, labels), "each pixel lies in the polygon of its own gap, holes in none"
    _, at_once = drawn(mask, connectivity=connectivity)
    assert [a.wkb for a in at_once] == [b.wkb for b in shapes], "down to the order of points"


@given(MASKS)
def test_parts_are_the_components_by_sides_and_holes_those_of_the_background(mask) -> None:
    labels, shapes = drawn(mask)
    for number, shape in enumerate(shapes, 1):
        one = labels == number
        assert len(shape.geoms) == ndimage.label(one)[1]
        _, outside = ndimage.label(np.pad(~one, 1, constant_values=True))
        assert sum(len(part.interiors) for part in shape.geoms) >= (
            ndimage.label(np.pad(~one, 1, constant_values=True), np.ones((3, 3)))[1] - 1
        )
        assert sum(len(part.interiors) for part in shape.geoms) <= outside - 1


def test_a_hole_that_touches_the_outline_is_a_hole() -> None:
    _, (shape,) = drawn(PINCHED)
    (part,) = shape.geoms
    assert len(part.interiors) == 2
    assert part.area == 12


def test_an_island_lies_in_the_hole_it_touches() -> None:
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[2:5, 2:5] = True
    mask[3, 3] = False
    mask[1, 1] = True  # joins the island to the ring at corners
    _, (shape,) = drawn(mask)
    assert sorted((part.area, len(part.interiors)) for part in shape.geoms) == [(8.0, 1), (25.0, 1)]
    assert shape.is_valid


def test_straight_sides_have_no_points_between() -> None:
    _, (shape,) = drawn(np.ones((40, 30), bool), step=3)
    assert shapely.get_num_coordinates(shape) == 5
    assert shape.bounds == (0, -40, 30, 0)


@pytest.mark.parametrize(
    "transform", [Affine(0.5, 0, 700_000, 0, -0.5, 6_600_000), Affine(2, 0, 10, 0, -3, 20), Affine(1, 0, 0, 0, 1, 0)]
)
def test_polygons_lie_where_the_raster_does(transform) -> None:
    mask = np.random.default_rng(1).random((30, 20)) < 0.4
    labels, shapes = drawn(mask, transform=transform, step=7)
    size = abs(transform.a * transform.e)
    assert shapely.area(shapes).tolist() == (np.bincount(labels.ravel())[1:] * size).tolist()
    assert shapely.is_valid(shapes).all()
    back = rasterize(zip(shapes, range(1, len(shapes) + 1), strict=True), mask.shape, transform=transform, dtype="int32")
    assert np.array_equal(back, labels)


def test_shells_turn_left_on_a_map() -> None:
    _, shapes = drawn(np.random.default_rng(1).random((30, 20)) < 0.5)
    for part in shapely.get_parts(shapes):
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)


def test_outlines_are_let_go_when_their_gap_is_complete() -> None:
    mask = np.zeros((400, 50), bool)
    mask[::4, ::2] = True
    labels = label_raster(lambda row, rows: mask[row : row + rows], 400, 50, step=8)
    outlines = Outlines(50, labels.last_row)
    kept = []
    for strip in labels.strips():
        build_polygons(outlines.add(strip.labels), UNIT)
        kept.append(len(outlines._open))
    assert max(kept) <= 2 * 2 * 25
