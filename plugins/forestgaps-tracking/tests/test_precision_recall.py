from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits, fill_invalid_with_garbage
from forestgaps_tracking.precision_recall import (
    DECISION_THRESHOLDS,
    PrecisionRecall,
    count_by_decision_threshold,
    count_by_probability,
)


@given(seed=st.integers(0, 20))
def test_counts_agree_with_a_loop_over_decision_thresholds(seed: int) -> None:
    batch = example_batch(samples=2, size=8, seed=seed)
    logits = example_logits(batch, seed)
    found = count_by_decision_threshold(count_by_probability(logits, batch.target, batch.valid, levels=9))
    for channel in range(3):
        valid = batch.valid[:, 0]
        gap, probability = batch.target[:, channel][valid] > 0.5, logits[:, channel][valid].sigmoid()
        for level in range(9):
            called = probability >= level / 8
            expected = (called & gap, called & ~gap, ~called & ~gap, ~called & gap)
            assert [cells[channel, level].item() for cells in found] == [cells.sum().item() for cells in expected]


@given(seed=st.integers(0, 20))
def test_curves_agree_with_torchs_own(seed: int) -> None:
    np, summary = pytest.importorskip("numpy"), pytest.importorskip("torch.utils.tensorboard.summary")
    batch = example_batch(samples=2, size=16, seed=seed)
    logits = example_logits(batch, seed)
    found = count_by_decision_threshold(count_by_probability(logits, batch.target, batch.valid))
    for channel in range(logits.shape[1]):
        valid = batch.valid[:, 0]
        labels = batch.target[:, channel][valid].numpy()
        expected = summary.compute_curve(labels, logits[:, channel][valid].sigmoid().numpy(), num_thresholds=DECISION_THRESHOLDS)
        np.testing.assert_array_equal(np.stack([cells[channel].numpy() for cells in found]), expected[:4])


def test_counts_worked_by_hand() -> None:
    """Two gaps of probability 0.9 and 0.2, one canopy pixel of 0.6; three decision thresholds at 0, 0.5 and 1."""
    logits = torch.logit(torch.tensor([0.9, 0.2, 0.6]))[None, None, None]
    target = torch.tensor([1.0, 1.0, 0.0])[None, None, None]
    tp, fp, tn, fn = count_by_decision_threshold(
        count_by_probability(logits, target, torch.ones(1, 1, 1, 3, dtype=torch.bool), levels=3)
    )
    assert (tp.tolist(), fp.tolist(), tn.tolist(), fn.tolist()) == ([[2, 1, 0]], [[1, 1, 0]], [[0, 0, 1]], [[0, 1, 2]])


def test_invalid_pixels_are_not_counted() -> None:
    batch = example_batch()
    logits = example_logits(batch)
    changed, other = fill_invalid_with_garbage(batch, logits)
    counts = count_by_probability(logits, batch.target, batch.valid)
    assert torch.equal(counts, count_by_probability(other, changed.target, changed.valid))
    assert counts.sum() == 3 * batch.valid.sum()


def test_certain_logits_stay_within_the_counts() -> None:
    logits = torch.tensor([-1e4, 1e4])[None, None, None]
    counts = count_by_probability(logits, torch.ones_like(logits), torch.ones(1, 1, 1, 2, dtype=torch.bool))
    assert (counts[0, 1, 0], counts[0, 1, -1]) == (1, 1)


def test_a_curve_has_its_precision_and_recall_at_every_decision_threshold_and_nan_where_nothing_is_called_a_gap() -> None:
    batch = example_batch(samples=1, size=4, thresholds=(5.0,), nodata=0.0)
    curves = PrecisionRecall(levels=3)
    assert list(curves.iterate_curves()) == []
    curves.add(batch, batch.target * 2 - 1)  # sure of nothing, and right everywhere
    ((name, rows),) = curves.iterate_curves()
    assert name == "precision_recall/gaps_below_5m"
    gaps = batch.target.mean().item()
    assert 0 < gaps < 1, "the example has both"
    assert rows[:2] == [pytest.approx([0.0, gaps, 1.0]), [0.5, 1.0, 1.0]]
    assert rows[2] == pytest.approx([1.0, float("nan"), 0.0], nan_ok=True)
