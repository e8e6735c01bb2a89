from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from forestgaps_gaps.change.classes import CANOPY, CLASSES, CLOSED, NEW, NODATA, STABLE, Changes, compare_maps


def reader(gap: np.ndarray, valid: np.ndarray | None = None):
    valid = np.ones_like(gap) if valid is None else valid
    return lambda row, count: (gap[row : row + count], valid[row : row + count])


def drawn(text: str) -> np.ndarray:
    """A mask from lines of # and dots."""
    return np.array([[mark == "#" for mark in line] for line in text.split()])


def compare(one: np.ndarray, other: np.ndarray, *, valid: tuple = (None, None), **options) -> tuple[Changes, np.ndarray]:
    kinds = np.full(one.shape, 99, np.uint8)

    def write(row: int, values: np.ndarray) -> None:
        kinds[row : row + len(values)] = values

    found = compare_maps(reader(one, valid[0]), reader(other, valid[1]), *one.shape, write=write, **options)
    return found, kinds


def test_golden_classes() -> None:
    earlier = drawn("""
        ##....##...#.#.###....##..
        ##....##...#.#.###....##..
        ..........................
        .##.......................
        .##.......................
    """)
    later = drawn("""
        ####..##...###........##..
        ####..#............##.##..
        ..........................
        ..................#.......
        ..................#.......
    """)
    found, kinds = compare(earlier, later)
    assert found.names == ["grown", "shrunk", "merged", "closed", "stable", "new", "closed", "new"]
    assert found.earlier.tolist() == [4, 4, 4, 6, 4, 0, 4, 0]
    assert found.later.tolist() == [8, 3, 3, 0, 4, 2, 0, 2]
    assert found.both.tolist() == [4, 3, 2, 0, 4, 0, 0, 0]
    assert (kinds == STABLE).sum() == 13
    split, _ = compare(later, earlier)
    assert sorted(split.names) == sorted(["shrunk", "grown", "split", "new", "stable", "closed", "new", "closed"])


def test_gaps_that_meet_in_several_ways_are_regrouped() -> None:
    found, _ = compare(drawn("##.## ....."), drawn(".###. ..... ".strip()), connectivity=4)
    assert found.names == ["merged"]
    chain, _ = compare(drawn("###.###.."), drawn("..###.###"))
    assert chain.names == ["regrouped"]
    assert (chain.earlier_gaps.tolist(), chain.later_gaps.tolist()) == ([2], [2])


def test_the_centroid_is_that_of_all_pixels_of_either_date() -> None:
    found, _ = compare(drawn("##... ....."), drawn(".#### ....."))
    assert (found.row[0], found.column[0]) == (0.5, 2.5)


def test_small_differences_are_stable_within_the_tolerance() -> None:
    one, other = np.zeros((4, 30), bool), np.zeros((4, 30), bool)
    one[1, :20], other[1, :22] = True, True
    assert compare(one, other, tolerance=0.1)[0].names == ["stable"]
    assert compare(one, other, tolerance=0.05)[0].names == ["grown"]
    assert compare(other, one, tolerance=0.05)[0].names == ["shrunk"]
    assert compare(one, one, tolerance=0.0)[0].names == ["stable"]


def test_a_gap_of_the_same_size_that_hardly_overlaps_has_shifted() -> None:
    one, other = drawn("####........"), drawn("..####......")
    assert compare(one, other)[0].names == ["stable"], "half of it stayed"
    assert compare(one, drawn("...####....."))[0].names == ["shifted"]


def test_gaps_outside_the_limits_are_canopy_at_their_date() -> None:
    one, other = drawn("#....#### ......... #........"), drawn("##...#### ......... .........")
    found, kinds = compare(one, other, at_least=2, at_most=3)
    assert found.names == ["new"]
    assert kinds[0].tolist() == [NEW, NEW, 0, 0, 0, 0, 0, 0, 0]


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = draw(st.integers(1, 25)), draw(st.integers(1, 25))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.floats(0.05, 0.6))
    one, other = (random.random((2, rows, columns)) < share).astype(bool)
    return one, other, *(random.random((2, rows, columns)) < draw(st.sampled_from([1.0, 0.8])))


@settings(max_examples=60)
@given(pairs(), st.sampled_from([4, 8]), st.integers(1, 4), st.integers(1, 26))
def test_areas_of_changes_add_up_to_those_of_pixels_however_it_is_read(maps, connectivity, at_least, step) -> None:
    one, other, *valid = maps
    found, kinds = compare(one, other, valid=valid, connectivity=connectivity, at_least=at_least, step=step)
    both = valid[0] & valid[1]
    assert found.surveyed == both.sum()
    assert np.array_equal(kinds == NODATA, ~both)
    assert set(np.unique(kinds)) <= {CANOPY, STABLE, NEW, CLOSED, NODATA}
    assert found.both.sum() == (kinds == STABLE).sum()
    assert (found.later - found.both).sum() == (kinds == NEW).sum()
    assert (found.earlier - found.both).sum() == (kinds == CLOSED).sum()
    for fate, total in ((found.earlier_fate, found.earlier), (found.later_fate, found.later)):
        assert np.array_equal(np.bincount(fate.change, weights=fate.pixels, minlength=len(found)), total)
        assert np.array_equal(np.bincount(fate.change, weights=fate.shared, minlength=len(found)), found.both)
        assert (fate.shared <= fate.pixels).all()
    assert found.earlier_gaps.sum() == len(found.earlier_fate.pixels)
    assert found.later_gaps.sum() == len(found.later_fate.pixels)
    whole, again = compare(one, other, valid=valid, connectivity=connectivity, at_least=at_least)
    assert np.array_equal(kinds, again)
    for name in ("kind", "earlier", "later", "both", "row", "column"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))


@settings(max_examples=40)
@given(pairs())
def test_changes_are_those_of_plain_lines_on_whole_arrays(maps) -> None:
    one, other, *_ = maps
    found, kinds = compare(one, other)
    assert np.array_equal(kinds, np.where(one & other, STABLE, np.where(other, NEW, np.where(one, CLOSED, CANOPY))))
    corners = np.ones((3, 3))
    (a, count_a), (b, count_b) = label(one, corners), label(other, corners)
    groups = [{("a", i)} for i in range(1, count_a + 1)] + [{("b", i)} for i in range(1, count_b + 1)]
    for i, j in set(zip(a[one & other].tolist(), b[one & other].tolist(), strict=True)):
        joined = [group for group in groups if ("a", i) in group or ("b", j) in group]
        groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    expected = []
    for group in groups:
        early, late = [i for side, i in group if side == "a"], [i for side, i in group if side == "b"]
        before, after = int(np.isin(a, early).sum()), int(np.isin(b, late).sum())
        if not early:
            name = "new"
        elif not late:
            name = "closed"
        elif len(early) == len(late) == 1:
            shared = int((np.isin(a, early) & np.isin(b, late)).sum())
            same = "stable" if shared >= max(before, after) / 2 else "shifted"
            name = "grown" if after > 1.1 * before else "shrunk" if after < 0.9 * before else same
        else:
            name = "merged" if len(late) == 1 else "split" if len(early) == 1 else "regrouped"
        expected.append((name, before, after))
    assert sorted(expected) == sorted(zip(found.names, found.earlier.tolist(), found.later.tolist(), strict=True))


@settings(max_examples=30)
@given(pairs())
def test_backwards_in_time_new_is_closed_and_grown_is_shrunk(maps) -> None:
    one, other, *valid = maps
    forth, back = compare(one, other, valid=valid)[0], compare(other, one, valid=valid[::-1])[0]
    assert (forth.earlier.tolist(), forth.later.tolist()) == (back.later.tolist(), back.earlier.tolist())
    turned = {"new": "closed", "closed": "new", "merged": "split", "split": "merged", "regrouped": "regrouped"}
    for name, mirrored in zip(forth.names, back.names, strict=True):
        assert name in CLASSES
        if name in turned:
            assert mirrored == turned[name]


def test_no_gap_at_either_date_is_no_change() -> None:
    found, kinds = compare(np.zeros((5, 6), bool), np.zeros((5, 6), bool))
    assert len(found) == 0 and found.names == []
    assert found.surveyed == 30
    assert (kinds == CANOPY).all()


def test_memory_does_not_grow_with_the_area() -> None:
    """Only a strip of pixels is ever asked for at a time."""
    asked = []

    def read(row: int, count: int):
        asked.append(count)
        gap = np.zeros((count, 50), bool)
        gap[:, 10:12] = True
        return gap, np.ones((count, 50), bool)

    found = compare_maps(read, read, 5000, 50, step=64)
    assert max(asked) == 64
    assert found.names == ["stable"] and found.both.tolist() == [10_000]


@pytest.mark.parametrize("connectivity", [4, 8])
def test_neighbors_decide_what_is_one_gap(connectivity) -> None:
    found, _ = compare(drawn("#. .#"), drawn("#. .#"), connectivity=connectivity)
    assert len(found) == (2 if connectivity == 4 else 1)
