"""Data at the edge of sense: losses, metrics, layers and networks give finite or defined values, and no weight is ever NaN."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.data.batch_maker import fill_invalid
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import THRESHOLDS, build_component, example_batch, example_logits

SIZE = 32
SHARES = {"usual": (0.05, 0.1, 0.3), "no gap": (0.0, 0.0, 0.0), "all gap": (1.0, 1.0, 1.0), "unknown": (math.nan,) * 3}


def batch_of(dsm: Tensor, height: Tensor, valid: Tensor) -> Batch:
    levels = torch.tensor(THRESHOLDS).expand(len(dsm), -1)
    return Batch(
        dsm=fill_invalid(dsm, valid),
        thresholds=levels,
        target=(height < levels[:, :, None, None]).float(),
        valid=valid,
        height=torch.where(valid, height, 0.0),
        index=torch.arange(len(dsm)),
    )


def batch(*, samples: int = 2, height: float | None = None, flat: bool = False, valid: str = "all", size: int = SIZE) -> Batch:
    usual = example_batch(samples=samples, size=size, seed=3)
    assert usual.height is not None
    heights = usual.height if height is None else torch.full_like(usual.dsm, height)
    ground = torch.full_like(usual.dsm, 412.5) if flat else usual.dsm - usual.height
    known = torch.zeros_like(usual.valid) if valid == "none" else torch.ones_like(usual.valid)
    if valid == "one tile":
        known[1:] = False
    if valid == "one pixel":
        known[:] = False
        known[0, 0, 3, 5] = True
    if valid == "one row":
        known[:] = False
        known[:, :, 7] = True
    return batch_of(ground + heights, heights, known)


BATCHES: Mapping[str, Callable[[], Batch]] = {
    "one sample": lambda: batch(samples=1),
    "constant tiles": lambda: batch(flat=True, height=12.0),
    "constant and alone": lambda: batch(flat=True, height=12.0, samples=1),
    "nothing valid": lambda: batch(valid="none"),
    "nothing valid, alone": lambda: batch(valid="none", samples=1),
    "one tile valid": lambda: batch(valid="one tile"),
    "one pixel valid": lambda: batch(valid="one pixel"),
    "one row valid": lambda: batch(valid="one row"),
    "all gap": lambda: batch(height=0.0),
    "no gap": lambda: batch(height=35.0),
    "exactly at a threshold": lambda: batch(height=5.0, flat=True),
    "below the ground": lambda: batch(height=-3.0),
    "on the highest mountain": lambda: lifted(batch(), 8848.0),
    "in the deepest mine": lambda: lifted(batch(), -1500.0),
    "a spike of a kilometre": lambda: spiked(batch()),
}


def lifted(batch: Batch, meters: float) -> Batch:
    return attrs.evolve(batch, dsm=batch.dsm + meters)


def spiked(batch: Batch) -> Batch:
    dsm = batch.dsm.clone()
    dsm[0, 0, 4, 4] += 1000
    return attrs.evolve(batch, dsm=dsm)


def installed(kind: str) -> list[str]:
    return sorted(Plugins.discover().components(kind))


NEEDS: Mapping[str, Any] = {"mixture": "parts", "sum": "parts"}  # losses of losses: their parts are among the others


def config(kind: str, name: str, **settings: Any) -> Any:
    return Plugins.discover().component(kind, name).load()(**settings)


LOSSES = [name for name in installed("loss") if name not in NEEDS]
METRICS, NORMALIZATIONS = installed("metrics"), installed("normalization")
WITHOUT_WEIGHTS = ("ground_filter",)
MODELS = [name for name in installed("model") if name not in WITHOUT_WEIGHTS]
OUTPUTS: Mapping[str, Callable[[Batch], Tensor]] = {
    "usual": example_logits,
    "zero": lambda batch: torch.zeros_like(batch.target),
    "sure of gap": lambda batch: torch.full_like(batch.target, 60.0),
    "sure of canopy": lambda batch: torch.full_like(batch.target, -60.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_are_finite(name):
    for share, values in SHARES.items():
        loss = build_component("loss", config("loss", name), gap_fraction=lambda values=values: values)
        for (kind, make), (output, logits_of) in product(BATCHES.items(), OUTPUTS.items()):
            batch = make()
            logits = logits_of(batch).requires_grad_()
            value = loss(logits, batch)
            where = f"{name} on {kind}, logits {output}, gap fraction {share}"
            assert value.isfinite(), f"{where}: {value}"
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value, logits, materialize_grads=True)
                assert gradient.isfinite().all(), where


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_defined(name):
    for (kind, make), (output, logits_of) in product(BATCHES.items(), OUTPUTS.items()):
        metric, batch = build_component("metrics", config("metrics", name)), make()
        metric.update(logits_of(batch), batch)
        for key, value in metric.compute().items():
            assert isinstance(value, float), f"{name}, {kind}, {output}: {key} is {value!r}"
            assert not math.isinf(value), f"{name}, {kind}, {output}: {key} is infinite"


@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_nothing_are_empty_also_when_merged(name):
    one, other = (build_component("metrics", config("metrics", name)) for _ in range(2))
    one.merge(other)
    assert dict(one.compute()) == {}


def normalizations() -> list[tuple[str, int]]:
    return [(name, samples) for name in NORMALIZATIONS for samples in (1, 2, 8)]


ONLY_BATCH = {"batch", "sync_batch"}  # torch's own: of a single value to a channel there is no variance to learn


@pytest.mark.parametrize(("name", "samples"), normalizations())
def test_layers_keep_constant_and_single_values_finite(name, samples):
    for channels, size in product((8, 24), (1, 4)):
        if name in ONLY_BATCH and samples == size == 1:
            continue
        layer = build_component("normalization", config("normalization", name), batch_per_device=samples)(channels)
        for value in (torch.zeros(()), torch.tensor(1e4), torch.randn(samples, channels, size, size)):
            x = value.expand(samples, channels, size, size).clone().requires_grad_()
            y = layer(x)
            y.square().mean().backward()
            assert y.isfinite().all()
            assert x.grad is not None
            assert x.grad.isfinite().all()
        assert all(part.isfinite().all() for part in layer.state_dict().values())


ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"
PAIRS = [pair for number, pair in enumerate(product(MODELS, NORMALIZATIONS)) if ALL or number % (len(NORMALIZATIONS) + 1) == 0]


@pytest.mark.parametrize(("model", "normalization"), PAIRS)
def test_networks_learn_from_anything_without_a_weight_that_is_none(model, normalization):
    torch.manual_seed(0)
    norm = build_component("normalization", config("normalization", normalization), batch_per_device=1)
    network = build_component("model", config("model", model, base=4), normalization=norm)
    loss = build_component("loss", config("loss", "bce"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for kind, make in BATCHES.items():
        batch = make()
        network.train()
        logits = network(batch.dsm, batch.valid, batch.thresholds)
        assert logits.isfinite().all(), kind
        optimizer.zero_grad()
        loss(logits, batch).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters()), kind
        optimizer.step()
        assert all(part.isfinite().all() for part in network.state_dict().values()), kind
    network.eval()
    with torch.no_grad():
        for kind, make in BATCHES.items():
            batch = make()
            assert network(batch.dsm, batch.valid, batch.thresholds).isfinite().all(), kind


@pytest.mark.parametrize("model", WITHOUT_WEIGHTS)
def test_networks_without_weights_map_anything(model):
    network = build_component("model", config("model", model))
    for kind, make in BATCHES.items():
        batch = make()
        for size in (2, 7, batch.dsm.shape[-1]):
            logits = network(batch.dsm[..., :size, :size], batch.valid[..., :size, :size], batch.thresholds)
            assert logits.isfinite().all(), kind


@pytest.mark.parametrize("normalization", ["batch", "group", "instance"])
@pytest.mark.parametrize("model", MODELS)
def test_a_single_tile_of_a_few_pixels_is_enough_to_train_on(model, normalization):
    torch.manual_seed(0)
    norm = build_component("normalization", config("normalization", normalization))
    network = build_component("model", config("model", model, base=4), normalization=norm)
    tiles = batch(samples=1, size=32)
    for size, training in product((2, 7, 16), (True, False)):
        network.train(training)
        logits = network(tiles.dsm[..., :size, :size], tiles.valid[..., :size, :size], tiles.thresholds)
        assert logits.shape == (1, len(THRESHOLDS), size, size)
        assert logits.isfinite().all()
        logits.mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
