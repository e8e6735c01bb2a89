from __future__ import annotations

import math

import attrs
import pytest
import torch

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import SegmentationMetrics, ThresholdMetrics
from forestgaps_metrics.scores import SCORES


def scored(logits, batch, **settings):
    metric = ThresholdMetrics(**settings)
    metric.update(logits, batch)
    return metric.compute()


def test_each_threshold_has_the_scores_of_its_plane_alone():
    batch = example_batch()
    logits = example_logits(batch)
    scores = scored(logits, batch)
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        alone = SegmentationMetrics()
        one = slice(plane, plane + 1)
        alone.update(logits[:, one], attrs.evolve(batch, target=batch.target[:, one], thresholds=batch.thresholds[:, one]))
        pooled = alone.compute()
        for name in SCORES:
            assert scores[name + end] == pytest.approx(pooled[name], nan_ok=True, rel=1e-12), name


def test_the_gap_fraction_is_reported_beside_the_scores():
    batch = example_batch()
    scores = scored(example_logits(batch), batch)
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        share = batch.target[:, plane][batch.valid[:, 0]].double().mean().item()
        assert scores[f"gap_fraction{end}"] == pytest.approx(share, rel=1e-12)


def test_calling_everything_gap_scores_what_is_documented_for_it():
    batch = example_batch()
    scores = scored(torch.ones_like(batch.target), batch)
    for end in ("@2m", "@5m", "@10m"):
        assert scores[f"gap_iou{end}"] == pytest.approx(scores[f"all_gap_iou{end}"])
        assert scores[f"gap_f1{end}"] == pytest.approx(scores[f"all_gap_f1{end}"])
        assert scores[f"predicted_gap_fraction{end}"] == 1


def test_without_a_valid_pixel_every_value_is_nan():
    batch = example_batch()
    nothing = attrs.evolve(batch, valid=torch.zeros_like(batch.valid))
    assert all(math.isnan(value) for value in scored(example_logits(batch), nothing).values())


def test_only_the_scores_asked_for_are_reported():
    batch = example_batch(thresholds=(2.5,))
    names = scored(example_logits(batch), batch, scores=("gap_iou",))
    assert list(names) == [
        "gap_iou@2.5m",
        "gap_fraction@2.5m",
        "predicted_gap_fraction@2.5m",
        "all_gap_iou@2.5m",
        "all_gap_f1@2.5m",
    ]


def test_gap_iou_agrees_with_torchmetrics():
    tm = pytest.importorskip("torchmetrics.functional.classification")
    batch = example_batch()
    logits = example_logits(batch)
    scores = scored(logits, batch)
    ignored = batch.target.long().masked_fill(~batch.valid, -1)
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        expected = tm.binary_jaccard_index(logits[:, plane], ignored[:, plane], ignore_index=-1)
        assert scores[f"gap_iou{end}"] == pytest.approx(expected.item(), rel=1e-6)
