from __future__ import annotations

import math

import pytest
import torch

from forestgaps_core.components import Batch
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import SegmentationMetrics
from forestgaps_metrics.segmentation import SegmentationMetricsConfig


def two_maps():
    """At 2 m one of one gap pixel is found; at 5 m one of three, with one false."""
    target = torch.tensor([[[[1.0, 0, 0, 0]], [[1.0, 1, 1, 0]]]])
    logits = torch.tensor([[[[9.0, -9, -9, -9]], [[9.0, -9, -9, 9]]]])
    batch = Batch(
        dsm=torch.zeros(1, 1, 1, 4),
        thresholds=torch.tensor([[2.0, 5.0]]),
        target=target,
        valid=torch.ones(1, 1, 1, 4, dtype=torch.bool),
    )
    return logits, batch


def test_pooled_counts_all_pixels_and_the_mean_weighs_thresholds_alike():
    metric = SegmentationMetrics()
    metric.update(*two_maps())
    scores = metric.compute()
    assert scores["gap_iou"] == 2 / 5  # 2 found of 2 + 1 false + 2 missed
    assert scores["gap_iou@mean"] == (1 / 1 + 1 / 4) / 2
    assert scores["canopy_iou"] == 3 / 6
    assert scores["mean_iou"] == pytest.approx((2 / 5 + 3 / 6) / 2)


def test_the_mean_is_over_thresholds_where_the_score_is_defined():
    logits, batch = two_maps()
    batch.target[:, 0] = 0
    logits[:, 0] = -9
    metric = SegmentationMetrics()
    metric.update(logits, batch)
    assert metric.compute()["gap_iou@mean"] == 1 / 4
    logits[:, 1], batch.target[:, 1] = -9, 0
    metric = SegmentationMetrics()
    metric.update(logits, batch)
    assert math.isnan(metric.compute()["gap_iou@mean"])


def test_a_higher_probability_predicts_fewer_gaps():
    batch = example_batch()
    logits = example_logits(batch)
    recalls = []
    for probability in (0.1, 0.5, 0.9):
        metric = SegmentationMetricsConfig(decision_threshold=probability).build()
        metric.update(logits, batch)
        recalls.append(metric.compute()["gap_recall"])
    assert recalls[0] > recalls[1] > recalls[2]


def test_only_the_scores_asked_for_are_reported():
    metric = SegmentationMetricsConfig(scores=("mcc", "gap_iou")).build()
    metric.update(*two_maps())
    assert list(metric.compute()) == ["mcc", "gap_iou", "mcc@mean", "gap_iou@mean"]


def valid_pixels():
    batch = example_batch(seed=3)
    logits = example_logits(batch)
    inside = batch.valid.expand_as(batch.target)
    return batch, logits, (logits > 0)[inside].long(), batch.target[inside].long()


def test_pooled_scores_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    batch, logits, predicted, truth = valid_pixels()
    metric = SegmentationMetrics()
    metric.update(logits, batch)
    y, p = truth.numpy(), predicted.numpy()
    expected = {
        "gap_iou": sk.jaccard_score(y, p),
        "canopy_iou": sk.jaccard_score(y, p, pos_label=0),
        "mean_iou": sk.jaccard_score(y, p, average="macro"),
        "gap_precision": sk.precision_score(y, p),
        "gap_recall": sk.recall_score(y, p),
        "specificity": sk.recall_score(y, p, pos_label=0),
        "accuracy": sk.accuracy_score(y, p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "mcc": sk.matthews_corrcoef(y, p),
        "kappa": sk.cohen_kappa_score(y, p),
    }
    for kind, options in (("gap", {}), ("canopy", {"pos_label": 0}), ("mean", {"average": "macro"})):
        for name, beta in (("f1", 1), ("f05", 0.5), ("f2", 2)):
            expected[f"{kind}_{name}"] = sk.fbeta_score(y, p, beta=beta, **options)
    found = metric.compute()
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_pooled_scores_agree_with_torchmetrics():
    tm = pytest.importorskip("torchmetrics.functional.classification")
    batch, logits, predicted, truth = valid_pixels()
    metric = SegmentationMetrics()
    metric.update(logits, batch)
    expected = {
        "gap_iou": tm.binary_jaccard_index(predicted, truth),
        "gap_f1": tm.binary_f1_score(predicted, truth),
        "gap_f05": tm.binary_fbeta_score(predicted, truth, beta=0.5),
        "gap_f2": tm.binary_fbeta_score(predicted, truth, beta=2.0),
        "gap_precision": tm.binary_precision(predicted, truth),
        "gap_recall": tm.binary_recall(predicted, truth),
        "specificity": tm.binary_specificity(predicted, truth),
        "accuracy": tm.binary_accuracy(predicted, truth),
        "mcc": tm.binary_matthews_corrcoef(predicted, truth),
        "kappa": tm.binary_cohen_kappa(predicted, truth),
    }
    found = metric.compute()
    assert {name: found[name] for name in expected} == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-5)
