"""What holds for every loss of the package, with its usual settings and with all the common ones set."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.testing import build_component, check_loss, example_batch, example_logits, fill_invalid_with_garbage
from forestgaps_losses import LOSSES
from forestgaps_losses.channel_loss import ChannelLossConfig
from forestgaps_losses.heights import Huber, Pinball


def config_class(name: str) -> Any:
    module, _, kind = LOSSES[name].partition(":")
    return getattr(import_module(module), kind)


def configs() -> dict[str, Any]:
    found = {name: config_class(name)() for name in LOSSES}
    for name, config in tuple(found.items()):
        if isinstance(config, ChannelLossConfig):
            found[f"{name} with everything"] = attrs.evolve(config, threshold_weights="rarity", pos_weight=3.0, label_smoothing=0.1)
    return found


every_loss = pytest.mark.parametrize("config", configs().values(), ids=configs().keys())


def changed(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with all its tensors changed alike."""
    tensors = {name: change(getattr(batch, name)) for name in ("dsm", "target", "valid", "height")}
    return attrs.evolve(batch, **tensors)


@every_loss
def test_it_keeps_the_contract(config: Any) -> None:
    check_loss(config)


@every_loss
def test_gaps_of_the_training_split_are_counted_only_for_rarity(config: Any) -> None:
    calls: list[None] = []

    def gap_fraction() -> tuple[float, ...]:
        calls.append(None)
        return (0.05, 0.1, 0.3)

    build_component("loss", config, gap_fraction=gap_fraction)
    assert len(calls) == (getattr(config, "threshold_weights", "equal") == "rarity")


@every_loss
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), nodata=st.floats(0, 1), scale=st.floats(0, 30))
def test_it_is_finite_and_not_negative_and_pixels_without_data_do_not_matter(
    config: Any, seed: int, nodata: float, scale: float
) -> None:
    batch = example_batch(samples=2, size=8, seed=seed, nodata=nodata)
    logits = example_logits(batch, seed) * scale
    loss = build_component("loss", config)
    value = loss(logits, batch)
    assert value.isfinite() and value >= -1e-6
    garbled, garbage = fill_invalid_with_garbage(batch, logits)
    torch.testing.assert_close(loss(garbage, garbled), value)


@every_loss
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), turns=st.integers(0, 3), flip=st.booleans())
def test_it_does_not_know_north_from_south(config: Any, seed: int, turns: int, flip: bool) -> None:
    batch = example_batch(samples=2, size=9, seed=seed)
    logits = example_logits(batch, seed)

    def turned(tensor: Tensor) -> Tensor:
        return torch.rot90(tensor.flip(-1) if flip else tensor, turns, (-2, -1))

    loss = build_component("loss", config)
    torch.testing.assert_close(loss(turned(logits), changed(batch, turned)), loss(logits, batch))


@every_loss
def test_half_precision_logits_are_computed_in_single_precision(config: Any) -> None:
    batch = example_batch()
    coarse = example_logits(batch).to(torch.bfloat16)
    loss = build_component("loss", config)
    value = loss(coarse, batch)
    assert value.dtype == torch.float32
    assert value == loss(coarse.float(), batch)


@every_loss
def test_a_better_answer_costs_less(config: Any) -> None:
    batch = example_batch()
    truth = torch.where(batch.target > 0.5, 1.0, -1.0)
    loss = build_component("loss", config)
    right, unsure, wrong = (loss(scale * truth, batch) for scale in (3.0, 0.0, -3.0))
    assert right < unsure < wrong


@pytest.mark.parametrize("config", [c for c in configs().values() if not isinstance(c, Huber | Pinball)], ids=repr)
def test_a_few_steps_against_it_find_the_gaps(config: Any) -> None:
    """Not those on heights: many curves have the same mean."""
    batch = example_batch(samples=2, size=16)
    logits = torch.zeros_like(batch.target).requires_grad_()
    loss = build_component("loss", config)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(logits, batch).backward()
        optimizer.step()
    right = ((logits > 0) == (batch.target > 0.5)) & batch.valid
    assert right.sum() > 0.97 * batch.valid.expand_as(right).sum()
