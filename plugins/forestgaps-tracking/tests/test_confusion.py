from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_tracking.confusion import CELL, MARGIN, ConfusionMatrices, count_confusion, draw_confusion

pytest.importorskip("PIL")


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
    assert torch.equal(count_confusion(logits, batch.target, batch.valid), expected)


def test_a_cell_is_the_darker_the_larger_its_fraction_of_the_row() -> None:
    picture = draw_confusion(torch.tensor([[90, 10], [25, 75]])).float()

    def lightness(row: int, column: int) -> float:
        return picture[:, MARGIN + row * CELL + 4, MARGIN + column * CELL + 4].mean().item()

    assert lightness(0, 0) < lightness(1, 1) < lightness(1, 0) < lightness(0, 1)


def test_a_row_without_pixels_is_white() -> None:
    picture = draw_confusion(torch.tensor([[90, 10], [0, 0]]))
    assert picture.shape == (3, MARGIN + 2 * CELL, MARGIN + 2 * CELL)
    assert (picture[:, MARGIN + CELL + 4, MARGIN + 4] == 255).all()


def test_a_cell_has_its_pixels_in_words() -> None:
    one, other = (draw_confusion(torch.tensor([[pixels, 0], [0, 0]])) for pixels in (1234, 9876))
    white = (one[:, MARGIN : MARGIN + CELL - 1, MARGIN : MARGIN + CELL - 1] == 255).all(0)
    assert 50 < white.sum() < white.numel() / 10  # letters on a dark ground
    differing = (one != other).any(0).nonzero()
    assert len(differing) > 0
    assert differing.min() >= MARGIN
    assert differing.max() < MARGIN + CELL


def test_each_threshold_of_a_pass_has_its_matrix() -> None:
    confusion = ConfusionMatrices()
    assert list(confusion.draw()) == []
    total = torch.zeros(3, 2, 2, dtype=torch.int64)
    for seed in range(2):
        batch = example_batch(samples=2, size=8, seed=seed)
        logits = example_logits(batch)
        confusion.add(batch, logits)
        total += count_confusion(logits, batch.target, batch.valid)
    pictures = dict(confusion.draw())
    assert list(pictures) == [f"confusion/gaps_below_{meters}m" for meters in (2, 5, 10)]
    assert torch.equal(pictures["confusion/gaps_below_5m"], draw_confusion(total[1]))
