from __future__ import annotations

import pytest
import torch

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.bce import bce_loss
from forestgaps_losses.boundary import boundary_loss, find_edges


def test_the_edge_is_where_both_are_near() -> None:
    target = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]).reshape(1, 1, 1, 8)
    at_edge = find_edges(target, torch.ones_like(target), 1).flatten().tolist()
    assert at_edge == [False, False, False, True, True, False, False, False]


def test_the_border_of_the_data_is_no_edge() -> None:
    target = torch.tensor([1.0, 1, 1, 0, 0, 0]).reshape(1, 1, 1, 6)
    pixels = torch.tensor([1.0, 1, 0, 0, 1, 1]).reshape(1, 1, 1, 6)
    assert not find_edges(target, pixels, 1).any()


def test_two_pixels_at_the_edge_of_four_worked_by_hand() -> None:
    """Gap, gap, canopy, canopy in a row; only the inner two count three times: (0 + 3 log 2 + 3 log 2 + 0) / 8."""
    target = torch.tensor([1.0, 1, 0, 0]).reshape(1, 1, 1, 4)
    logits = torch.tensor([100.0, 0, 0, -100]).reshape(1, 1, 1, 4)
    found = boundary_loss(logits, target, torch.ones_like(target), reach=1, edge_weight=3.0)
    assert found.item() == pytest.approx(6 / 8 * 0.6931472)


@pytest.mark.parametrize("reach", [1, 3])
def test_edges_agree_with_ten_slow_lines(reach: int) -> None:
    batch = example_batch(samples=2, size=10, nodata=0.2)
    found = find_edges(batch.target, batch.valid.float(), reach)
    for sample in range(2):
        for plane in range(3):
            for row in range(10):
                for column in range(10):
                    window = (slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1))
                    seen = batch.target[sample, plane][window][batch.valid[sample, 0][window]]
                    assert bool(found[sample, plane, row, column]) == ((seen == 1).any() and (seen == 0).any())


def test_with_a_weight_of_one_it_is_cross_entropy() -> None:
    batch = example_batch()
    arguments = example_logits(batch), batch.target, batch.valid.float()
    torch.testing.assert_close(boundary_loss(*arguments, reach=2, edge_weight=1.0), bce_loss(*arguments))


def test_a_weight_of_zero_leaves_edges_out() -> None:
    batch = example_batch()
    logits = example_logits(batch).requires_grad_()
    pixels = batch.valid.float()
    boundary_loss(logits, batch.target, pixels, reach=1, edge_weight=0.0).sum().backward()
    assert (logits.grad[find_edges(batch.target, pixels, 1)] == 0).all()
