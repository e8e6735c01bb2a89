from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_wandb.confusion import CELL, MARGIN, confusion_counts, confusion_picture


@given(seed=st.integers(0, 20))
def test_counts_agree_with_a_loop_over_pixels(seed: int) -> None:
    batch = example_batch(samples=2, size=5, seed=seed)
    logits = example_logits(batch, seed)
    expected = torch.zeros(3, 2, 2, dtype=torch.int64)
    for b in range(2):
        for k in range(3):
            for y in range(5):
                for x in range(5):
                    if batch.valid[b, 0, y, x]:
                        expected[k, int(batch.target[b, k, y, x] > 0.5), int(logits[b, k, y, x] > 0)] += 1
    assert torch.equal(confusion_counts(logits, batch.target, batch.valid), expected)


def test_a_cell_is_the_darker_the_larger_its_share_of_the_row() -> None:
    picture = confusion_picture(torch.tensor([[90, 10], [25, 75]])).float()

    def lightness(row: int, column: int) -> float:
        return picture[:, MARGIN + row * CELL + 4, MARGIN + column * CELL + 4].mean().item()

    assert lightness(0, 0) < lightness(1, 1) < lightness(1, 0) < lightness(0, 1)


def test_a_row_without_pixels_is_white() -> None:
    picture = confusion_picture(torch.tensor([[90, 10], [0, 0]]))
    assert picture.shape == (3, MARGIN + 2 * CELL, MARGIN + 2 * CELL)
    assert (picture[:, MARGIN + CELL + 4, MARGIN + 4] == 255).all()
