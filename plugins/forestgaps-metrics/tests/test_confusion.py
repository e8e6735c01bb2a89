from __future__ import annotations

import pytest
import torch

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import ConfusionMatrix


def example():
    batch = example_batch()
    logits = example_logits(batch)
    metric = ConfusionMatrix()
    metric.update(logits, batch)
    return metric, logits, batch


def test_matrices_agree_with_torchmetrics():
    tm = pytest.importorskip("torchmetrics.functional.classification")
    metric, logits, batch = example()
    ignored = batch.target.long().masked_fill(~batch.valid, -1)
    assert metric.thresholds == [2.0, 5.0, 10.0]
    for plane, matrix in enumerate(metric.matrix):
        assert torch.equal(matrix, tm.binary_confusion_matrix(logits[:, plane], ignored[:, plane], ignore_index=-1))


@pytest.mark.parametrize(("over", "theirs"), [("reference", "true"), ("predicted", "pred"), ("all", "all")])
def test_normalized_matrices_agree_with_scikit_learn(over, theirs):
    sk = pytest.importorskip("sklearn.metrics")
    metric, logits, batch = example()
    inside = batch.valid[:, 0]
    for plane, matrix in enumerate(metric.normalize(over)):
        truth, predicted = batch.target[:, plane][inside].numpy(), (logits[:, plane] > 0)[inside].numpy()
        assert matrix.numpy() == pytest.approx(sk.confusion_matrix(truth, predicted, normalize=theirs), rel=1e-12)


def test_rates_are_shares_of_what_was_surveyed():
    metric, _, _ = example()
    values = metric.compute()
    for end in ("", "@2m", "@5m", "@10m"):
        assert values[f"tp_rate{end}"] + values[f"fn_rate{end}"] == pytest.approx(1)
        assert values[f"fp_rate{end}"] + values[f"tn_rate{end}"] == pytest.approx(1)
        assert values[f"false_discovery_rate{end}"] == values[f"fp{end}"] / (values[f"tp{end}"] + values[f"fp{end}"])
        assert values[f"false_omission_rate{end}"] == values[f"fn{end}"] / (values[f"fn{end}"] + values[f"tn{end}"])


def test_the_counts_of_all_thresholds_add_up_to_the_pooled_ones():
    metric, _, batch = example()
    values = metric.compute()
    for name in ("tp", "fp", "fn", "tn"):
        assert values[name] == sum(values[f"{name}@{meters}m"] for meters in (2, 5, 10))
    assert sum(values[name] for name in ("tp", "fp", "fn", "tn")) == 3 * batch.valid.sum()


def test_before_any_batch_there_is_no_matrix():
    assert ConfusionMatrix().matrix.shape == (0, 2, 2)
    assert ConfusionMatrix().normalize().shape == (0, 2, 2)
    assert ConfusionMatrix().thresholds == []
