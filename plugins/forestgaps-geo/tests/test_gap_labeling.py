from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from forestgaps_geo.gap_labeling import GapScan, Labels, label_array, label_components, label_raster

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=17), elements=st.booleans())


def of(mask: np.ndarray, **options: object) -> Labels:
    return label_raster(lambda row, rows: mask[row : row + rows], *mask.shape, **options)


def reference(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """scipy numbers in the order in which components are met."""
    return ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)


@given(MASKS, st.integers(1, 18), st.sampled_from([4, 8]))
def test_labels_are_those_of_the_whole_array_whatever_the_strips(mask, step, connectivity) -> None:
    expected, count = reference(mask, connectivity)
    labels = of(mask, connectivity=connectivity, step=step)
    assert labels.count == count
    assert np.array_equal(np.concatenate([strip.labels for strip in labels.strips()]), expected)
    upwards = list(labels.strips(backwards=True))
    assert np.array_equal(np.concatenate([strip.labels for strip in reversed(upwards)]), expected)
    assert upwards[0].row >= upwards[-1].row
    assert np.array_equal(label_array(mask, connectivity), expected)


@given(MASKS, st.integers(1, 18), st.integers(1, 6), st.integers(1, 12))
def test_gaps_outside_the_limits_have_no_number(mask, step, least, more) -> None:
    whole, count = reference(mask, 8)
    sizes = np.bincount(whole.ravel(), minlength=count + 1)[1:]
    kept = (sizes >= least) & (sizes <= least + more)
    labels = of(mask, at_least=least, at_most=least + more, step=step)
    assert labels.pixels.tolist() == sizes[kept].tolist()
    found = np.concatenate([strip.labels for strip in labels.strips()])
    assert np.array_equal(found, np.concatenate([[0], np.cumsum(kept) * kept])[whole])


@given(MASKS, st.integers(1, 18))
def test_first_pixel_and_last_row_are_known(mask, step) -> None:
    whole, count = reference(mask, 8)
    labels = of(mask, step=step)
    for number in range(1, count + 1):
        place = np.flatnonzero(whole == number)
        assert labels.first[number - 1] == place[0]
        assert labels.last_row[number - 1] == place[-1] // mask.shape[1]


def test_a_spiral_through_many_strips_is_one_gap() -> None:
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 2):
        mask[ring : 41 - ring, [ring, 40 - ring]] = mask[[ring, 40 - ring], ring : 41 - ring] = True
        mask[ring + 1, ring] = False
        mask[ring + 2, ring : ring + 3] = True
    _, count = reference(mask, 4)
    assert {of(mask, connectivity=4, step=step).count for step in (1, 2, 3, 40, 41)} == {count}


@pytest.mark.parametrize("shape", [(1, 19), (19, 1), (5, 7), (6, 7), (7, 6)])
def test_odd_sizes_are_labelled_right(shape) -> None:
    """cc3d 4.1.1 labels bool arrays of such shapes wrongly with 8 neighbors."""
    random = np.random.default_rng(0)
    for _ in range(200):
        mask = random.random(shape) < 0.5
        local, count = label_components(mask, 8)
        expected, known = reference(mask, 8)
        assert count == known
        assert np.array_equal(local > 0, mask)
        assert len(np.unique(local.astype(int) * 1000 + expected)) == len(np.unique(expected))


def test_nothing_is_no_gap() -> None:
    assert of(np.zeros((3, 4), bool)).count == 0
    assert of(np.zeros((0, 4), bool)).count == 0
    assert label_array(np.zeros((0, 4), bool)).shape == (0, 4)


def test_other_neighborhoods_are_refused() -> None:
    with pytest.raises(ValueError, match="4 or 8"):
        of(np.ones((2, 2), bool), connectivity=6)


def test_a_raster_that_changes_while_it_is_read_is_noticed() -> None:
    masks = iter([np.eye(4, dtype=bool)[::2], np.ones((2, 4), bool), np.ones((2, 4), bool), np.ones((2, 4), bool)])
    read: Callable[[int, int], np.ndarray] = lambda row, rows: next(masks)  # noqa: E731
    labels = label_raster(read, 4, 4, step=2, connectivity=4)
    with pytest.raises(RuntimeError, match="changed while it was read"):
        labels.strip(0)


@given(MASKS, st.data())
def test_a_scan_counts_the_pixels_of_each_gap_whatever_the_strips(mask, data) -> None:
    cuts = sorted(set(data.draw(st.lists(st.integers(1, max(len(mask) - 1, 1)), max_size=4))) & set(range(1, len(mask))))
    scan = GapScan(mask.shape[1])
    for strip in np.split(mask, cuts):
        scan.add(strip)
    whole, count = reference(mask, 8)
    sizes = scan.join().pixels
    assert sorted(sizes[sizes > 0]) == sorted(np.bincount(whole.ravel(), minlength=count + 1)[1:])


def test_a_scan_counts_the_gaps_of_a_large_mask_in_many_strips() -> None:
    mask = np.random.default_rng(3).random((400, 300)) < 0.42
    scan = GapScan(300)
    for strip in np.array_split(mask, 57):
        scan.add(strip)
    whole, count = reference(mask, 8)
    sizes = scan.join().pixels
    assert sorted(sizes[sizes > 0]) == sorted(np.bincount(whole.ravel())[1:])
    assert (sizes > 0).sum() == count


def test_a_scan_keeps_the_lowest_row_and_one_record_for_each_label() -> None:
    scan = GapScan(8)
    for _ in range(50):
        scan.add(np.ones((3, 8), bool))
    assert scan.above.shape == (8,)
    assert [sum(len(part) for part in parts) for parts in (scan.pixels, scan.first, scan.last)] == [50 * 2] * 3
    assert [len(pairs) for pairs in scan.seams] == [1] * 49
    sizes = scan.join().pixels
    assert sizes[sizes > 0].tolist() == [50 * 3 * 8]
