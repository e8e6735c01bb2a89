from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import SegmentationMetrics
from forestgaps_metrics.pixel_counts import count_confusion, count_pixels


def one_by_one(logits, batch, probability):
    """The slow way: pixel by pixel."""
    counts = [[0, 0, 0, 0] for _ in range(logits.shape[1])]
    for sample in range(len(logits)):
        for plane in range(logits.shape[1]):
            for row in range(logits.shape[2]):
                for column in range(logits.shape[3]):
                    if not batch.valid[sample, 0, row, column]:
                        continue
                    predicted = torch.sigmoid(logits[sample, plane, row, column].double()) > probability
                    gap = batch.target[sample, plane, row, column] == 1
                    counts[plane][(0 if gap else 1) if predicted else (2 if gap else 3)] += 1
    return torch.tensor(counts)


@pytest.mark.parametrize("probability", [0.5, 0.3, 0.9])
def test_counts_are_those_of_counting_pixel_by_pixel(probability):
    batch = example_batch(samples=2, size=9)
    logits = example_logits(batch)
    assert torch.equal(count_confusion(logits, batch, probability), one_by_one(logits, batch, probability))


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(0, 1),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_pixels_are_the_plain_sum_at_any_size_and_in_any_memory_layout(samples, planes, rows, columns, share, seed, channels_last):
    mask = torch.rand((samples, planes, rows, columns), generator=torch.Generator().manual_seed(seed)) < share
    if channels_last:
        mask = mask.to(memory_format=torch.channels_last)
    assert torch.equal(count_pixels(mask), mask.sum((0, 2, 3)))


def test_no_byte_overflows_where_every_pixel_is_gap():
    mask = torch.ones((2, 3, 256, 256), dtype=torch.bool)
    assert count_pixels(mask).tolist() == [2 * 256 * 256] * 3


def test_counting_continues_where_float32_stops():
    batch = example_batch(samples=1, size=4, thresholds=(5.0,), nodata=0.0)
    metric = SegmentationMetrics()
    metric.update(torch.ones_like(batch.target), attrs.evolve(batch, target=torch.ones_like(batch.target)))
    for _ in range(30):  # doubling: 2^30 batches of 16 pixels
        metric.merge(metric)
    metric.update(-torch.ones_like(batch.target), attrs.evolve(batch, target=torch.ones_like(batch.target)))
    assert metric.counts.values.tolist() == [[2**34, 0, 16, 0]]


@settings(deadline=None)
@given(st.integers(0, 7), st.integers(0, 2**31))
def test_turning_the_tile_changes_no_count(turn, seed):
    batch = example_batch(samples=2, size=12, seed=seed)
    logits = example_logits(batch, seed=seed + 1)

    def turned(plane):
        plane = plane.flip(-1) if turn & 1 else plane
        return torch.rot90(plane, turn >> 1, (-2, -1))

    again = attrs.evolve(batch, target=turned(batch.target), valid=turned(batch.valid))
    assert torch.equal(count_confusion(turned(logits), again, 0.5), count_confusion(logits, batch, 0.5))
