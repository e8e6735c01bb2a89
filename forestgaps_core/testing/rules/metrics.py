"""The rules for metrics: batches and merged metrics add up to one pass, and pixels without data do not matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch

from forestgaps_core.components import Metric
from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.comparison import require_same
from forestgaps_core.testing.examples import example_batch, example_logits, fill_invalid_with_garbage, select_samples

SAMPLES = 6


def update_metric(config: Any, arguments: dict[str, Any], *parts: list[int]) -> Metric:
    """Return a metric that has seen the samples of each part in a batch of its own."""
    batch = example_batch(samples=SAMPLES)
    logits = example_logits(batch)
    metric: Metric = build_component("metrics", config, **arguments)
    for part in map(torch.tensor, parts):
        metric.update(logits[part], select_samples(batch, part))
    return metric


def compute_scores(config: Any, arguments: dict[str, Any]) -> Mapping[str, float]:
    """Return the scores of one pass in one batch."""
    return update_metric(config, arguments, [*range(SAMPLES)]).compute()


def check_no_batch(config: Any, **arguments: Any) -> None:
    """Without any batch, there are no scores."""
    assert dict(build_component("metrics", config, **arguments).compute()) == {}, "without any batch a metric has no values"


def check_values(config: Any, **arguments: Any) -> None:
    """There is at least one score, and scores are Python floats."""
    whole = compute_scores(config, arguments)
    assert whole, "a metric has at least one value"
    assert all(isinstance(value, float) for value in whole.values()), "values are Python floats"


def check_batches(config: Any, **arguments: Any) -> None:
    """The order and size of the batches do not change the scores."""
    parts = update_metric(config, arguments, [4, 0], [1, 5, 2], [3]).compute()
    require_same(parts, compute_scores(config, arguments), "order and batches change the scores")


def check_merge(config: Any, **arguments: Any) -> None:
    """Two merged metrics have the scores of one pass."""
    first, second = update_metric(config, arguments, [0, 1]), update_metric(config, arguments, [2, 3, 4, 5])
    untouched = dict(second.compute())
    first.merge(second)
    require_same(first.compute(), compute_scores(config, arguments), "merging two metrics differs from one pass")
    require_same(second.compute(), untouched, "merging changed the metric merged in")


def check_merge_without_batches(config: Any, **arguments: Any) -> None:
    """A metric that has seen no batch can be merged, in both directions."""
    whole, metric = compute_scores(config, arguments), update_metric(config, arguments, [*range(SAMPLES)])
    empty = build_component("metrics", config, **arguments)
    empty.merge(metric)
    require_same(empty.compute(), whole, "merging into an empty metric differs")
    metric.merge(build_component("metrics", config, **arguments))
    require_same(metric.compute(), whole, "merging an empty metric in differs")


def check_invalid_pixels(config: Any, **arguments: Any) -> None:
    """Pixels without data do not change the scores."""
    batch = example_batch(samples=SAMPLES)
    changed_batch, changed_logits = fill_invalid_with_garbage(batch, example_logits(batch))
    metric = build_component("metrics", config, **arguments)
    metric.update(changed_logits, changed_batch)
    require_same(metric.compute(), compute_scores(config, arguments), "invalid pixels change the scores")


def check_no_valid_pixels(config: Any, **arguments: Any) -> None:
    """Without a valid pixel, a score is NaN, or a count of 0."""
    batch = example_batch(samples=SAMPLES)
    metric = build_component("metrics", config, **arguments)
    metric.update(example_logits(batch), attrs.evolve(batch, valid=torch.zeros_like(batch.valid)))
    for name, value in metric.compute().items():
        assert math.isnan(value) or value == 0, f"without a valid pixel {name} is {value}; it should be NaN, or a count of 0"


RULES = (
    check_no_batch,
    check_values,
    check_batches,
    check_merge,
    check_merge_without_batches,
    check_invalid_pixels,
    check_no_valid_pixels,
)
