from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_evaluation.counting import batch_counts as counting


def test_a_decision_threshold_between_classes_counts_what_lies_above_it():
    batch = example_batch(samples=1, size=2, thresholds=(5.0,), nodata=0.0)
    probability = torch.tensor([0.0, 0.5, 0.5000001, 1.0]).reshape(1, 1, 2, 2)
    pixels = counting.count_by_probability(probability, batch)[0, :, :2].sum(1)
    assert torch.nonzero(pixels)[:, 0].tolist() == [0, 49, 50, 99]


@given(st.integers(0, 1000))
def test_nothing_is_lost_in_the_classes(seed):
    batch = example_batch(seed=seed)
    probability = example_logits(batch, seed).sigmoid()
    classes = counting.count_by_probability(probability, batch)
    counts = counting.count_confusion(probability, batch)
    assert classes[..., :2].sum(1).tolist() == [[row[1] + row[3], row[0] + row[2]] for row in counts.sum(0).tolist()]
    assert counts.sum(2).tolist() == batch.valid.sum((1, 2, 3))[:, None].expand(-1, 3).tolist()
    total = (probability * batch.valid).double().sum((0, 2, 3))
    assert torch.allclose(classes[..., 2].sum(1).double() / counting.PROBABILITY_UNIT, total, atol=1e-2)


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), side=st.floats(1, 40))
def test_cells_cover_a_tile_but_for_its_last_pixels(rows, columns, side):
    shape = counting.choose_cell_grid(rows, columns, side)
    sums = counting.sum_cells(torch.ones((1, 1, rows, columns), dtype=torch.bool), shape)
    assert sums.shape == (1, 1, shape[0] * shape[1])
    assert sums.unique().numel() == 1
    high, wide = rows // shape[0], columns // shape[1]
    assert sums.sum() == shape[0] * high * shape[1] * wide
    assert rows - shape[0] * high < shape[0] and columns - shape[1] * wide < shape[1]


def test_cells_are_in_reading_order():
    mask = torch.zeros((1, 1, 5, 6), dtype=torch.bool)
    mask[0, 0, 0, 3:5] = mask[0, 0, 3, 0] = True
    assert counting.sum_cells(mask, (2, 2)).tolist() == [[[0, 2, 1, 0]]]


def test_sums_of_probability_are_whole_numbers_float64_can_hold():
    assert np.float64(2**33) * counting.PROBABILITY_UNIT <= 2**53
