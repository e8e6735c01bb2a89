from __future__ import annotations

import math

import pytest
import torch

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.bce import bce_loss


def test_knowing_nothing_costs_the_logarithm_of_two() -> None:
    assert bce_loss(torch.zeros(1, 1, 2, 2), torch.eye(2)[None, None], torch.ones(1, 1, 2, 2)).item() == pytest.approx(math.log(2))


def test_it_agrees_with_ten_slow_lines() -> None:
    batch = example_batch(samples=2, size=6, nodata=0.3)
    logits = example_logits(batch)
    found = bce_loss(logits, batch.target, batch.valid.float())
    for sample in range(2):
        for plane in range(3):
            costs = []
            for row in range(6):
                for column in range(6):
                    if batch.valid[sample, 0, row, column]:
                        p = 1 / (1 + math.exp(-logits[sample, plane, row, column].item()))
                        costs.append(-math.log(p if batch.target[sample, plane, row, column] else 1 - p))
            assert found[sample, plane].item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_a_channel_without_data_is_zero() -> None:
    assert bce_loss(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)) == 0
