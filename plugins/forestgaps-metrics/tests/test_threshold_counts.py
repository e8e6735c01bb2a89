from __future__ import annotations

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import DataError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import ThresholdMetrics
from forestgaps_metrics.threshold_counts import ThresholdCounts, average_values, name_values


def test_thresholds_name_the_rows():
    tally = ThresholdCounts()
    tally.add(torch.tensor([[1], [2], [3]]), torch.tensor([[2.0, 2.5, 12.3]]))
    ends, counts = tally.read(pooled=True)
    assert ends == ["", "@2m", "@2.5m", "@12.3m"]
    assert counts.tolist() == [[6], [1], [2], [3]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 20))
def test_merging_any_two_parts_is_one_pass(numbers, cut):
    parts = [ThresholdCounts(), ThresholdCounts()]
    for place, number in enumerate(numbers):
        parts[place >= cut].add(torch.tensor([[number]]), torch.tensor([[5.0]]))
    parts[0].merge(parts[1])
    assert parts[0].read(pooled=False)[1].tolist() == [[sum(numbers)]]


def test_nothing_added_has_no_rows():
    assert ThresholdCounts().read(pooled=True)[0] == []


@pytest.mark.parametrize("thresholds", [[[2.0, 5.0], [2.0, 6.0]], [[2.0, 5.0], [3.0, 5.0]]])
def test_thresholds_that_differ_between_samples_have_no_scores_by_threshold(thresholds):
    tally = ThresholdCounts()
    tally.add(torch.ones((2, 4), dtype=torch.int64), torch.tensor(thresholds))
    with pytest.raises(DataError, match="differ between samples"):
        tally.read(pooled=False)


def test_thresholds_that_differ_between_batches_or_processes_are_noticed_too():
    batch = example_batch()
    other = evolve(batch, thresholds=batch.thresholds + 1)
    one, two = ThresholdMetrics(), ThresholdMetrics()
    one.update(example_logits(batch), batch)
    two.update(example_logits(batch), other)
    one.merge(two)
    with pytest.raises(DataError, match="differ between samples"):
        one.compute()


def test_another_number_of_thresholds_is_refused_at_once():
    tally = ThresholdCounts()
    tally.add(torch.ones((2, 4), dtype=torch.int64), torch.tensor([[2.0, 5.0]]))
    with pytest.raises(DataError, match="same number of thresholds"):
        tally.add(torch.ones((1, 4), dtype=torch.int64), torch.tensor([[2.0]]))


def test_a_batch_changed_after_the_update_changes_no_name():
    thresholds = torch.tensor([[2.0, 5.0]])
    tally = ThresholdCounts()
    tally.add(torch.ones((2, 1), dtype=torch.int64), thresholds)
    thresholds += 1
    assert tally.read(pooled=False)[0] == ["@2m", "@5m"]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_the_order_of_samples_and_their_batches_changes_no_digit(order, cut):
    batch = example_batch(samples=6, size=16)
    logits = example_logits(batch)
    whole, parts = ThresholdMetrics(), ThresholdMetrics()
    whole.update(logits, batch)
    for part in (order[:cut], order[cut:]):
        some = evolve(batch, target=batch.target[part], valid=batch.valid[part], thresholds=batch.thresholds[part])
        parts.update(logits[part], some)
    assert parts.compute() == pytest.approx(whole.compute(), abs=0, nan_ok=True)


def test_values_are_named_row_by_row_and_the_mean_is_over_those_defined():
    values = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, torch.nan])}
    assert name_values(values, ["@2m", "@5m"]) == pytest.approx({"a@2m": 1, "b@2m": 3, "a@5m": 2, "b@5m": torch.nan}, nan_ok=True)
    assert average_values(values) == {"a@mean": 1.5, "b@mean": 3.0}
