from __future__ import annotations

from importlib import import_module

import pytest
import torch

import forestgaps_metrics as package
from forestgaps_core.config.converter import structure_config
from forestgaps_core.testing import check_metric, example_batch, example_logits

TABLE = package.forestgaps_metrics()


def config_class(name):
    module, _, kind = TABLE[name].partition(":")
    return getattr(import_module(module), kind)


@pytest.mark.parametrize("name", TABLE)
def test_every_metric_of_the_table_keeps_the_contract(name):
    check_metric(config_class(name)())


@pytest.mark.parametrize("name", [target.partition(":")[2].removesuffix("Config") for target in TABLE.values()])
def test_every_public_class_works_with_its_defaults(name):
    metric = getattr(package, name)()
    assert metric.compute() == {}
    batch = example_batch()
    metric.update(example_logits(batch), batch)
    assert metric.compute()


@pytest.mark.parametrize("name", TABLE)
def test_every_metric_continues_outside_inference_mode(name):
    batch = example_batch()
    metric = config_class(name)().build()
    with torch.inference_mode():
        metric.update(example_logits(batch), batch)
    metric.update(example_logits(batch).requires_grad_(), batch)
    assert metric.compute()


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_half_precision_count_as_the_numbers_they_are(name, dtype):
    batch = example_batch()
    logits = example_logits(batch).to(dtype)
    half, full = config_class(name)().build(), config_class(name)().build()
    half.update(logits, batch)
    full.update(logits.float(), batch)
    assert half.compute() == pytest.approx(full.compute(), nan_ok=True, abs=0)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"gap_objects"}))  # which says that it works on the CPU
def test_updates_and_merges_never_read_the_device(name):
    """A tensor on `meta` has no values: reading one raises."""
    batch = example_batch().to("meta")
    metric, other = config_class(name)().build(), config_class(name)().build()
    for _ in range(2):
        metric.update(torch.empty_like(batch.target), batch)
        other.update(torch.empty_like(batch.target), batch)
        metric.merge(other)


@pytest.mark.parametrize(
    ("name", "table", "sentence"),
    [
        ("segmentation", {"decision_threshold": 1.0}, "between 0 and 1"),
        ("segmentation", {"scores": ["gap_iuo"]}, "did you mean 'gap_iou'"),
        ("thresholds", {"scores": []}, "at least one"),
        ("gap_objects", {"classes_px": [10, 10]}, "ascending"),
        ("gap_objects", {"classes_m2": [0.0, 10.0]}, "above 0"),
        ("gap_objects", {"overlap": 0.0}, "above 0"),
        ("grid_cells", {"min_valid": 1.5}, "between 0 and 1"),
        ("calibration", {"bins": 1}, ">= 2"),
        ("curves", {"bins": 0}, ">= 2"),
        ("boundary", {"tolerance_px": -1.0}, ">= 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(name, table, sentence):
    config, problems = structure_config(table, config_class(name))
    assert config is None
    assert any(sentence in problem for problem in problems), problems
