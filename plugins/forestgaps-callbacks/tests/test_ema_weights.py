from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forestgaps_callbacks.checkpoints import Checkpoints
from forestgaps_callbacks.ema_weights import EmaWeights, EmaWeightsConfig
from forestgaps_core import PluginError, hookimpl
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.testing import check_callback


def test_contract(tmp_path: Path) -> None:
    check_callback(EmaWeightsConfig(decay=0.99, warmup=5.0), tmp_path)


@given(values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), decay=st.floats(0, 0.999))
def test_the_average_agrees_with_its_formula(values: list[float], decay: float) -> None:
    trainer: Any = SimpleNamespace(model=nn.Linear(1, 1, bias=False))
    nn.init.constant_(trainer.model.weight, 1.0)
    averaged, expected = EmaWeights(decay=decay, warmup=3.0), 1.0
    averaged.fit_start(trainer)
    for t, value in enumerate(values, start=1):
        nn.init.constant_(trainer.model.weight, value)
        averaged.step_end(trainer)
        d = min(decay, t / (t + 3.0))
        expected = d * expected + (1 - d) * value
    assert averaged.average is not None
    assert averaged.average["weight"].item() == pytest.approx(expected, abs=1e-4)


def test_counters_are_copied_and_statistics_averaged(trainer: Any) -> None:
    trainer.model = nn.BatchNorm2d(2)
    averaged = EmaWeights(decay=0.5, warmup=0.0)
    averaged.fit_start(trainer)
    trainer.model(torch.full((1, 2, 3, 3), 8.0))
    averaged.step_end(trainer)
    assert averaged.average is not None
    assert averaged.average["num_batches_tracked"] == 1
    assert torch.allclose(averaged.average["running_mean"], trainer.model.running_mean / 2)


def test_validation_sees_the_average_and_training_its_own_weights(train: Callable[..., Any]) -> None:
    """Wherever the callback that looks stands in the run file."""

    class Look:
        seen: dict[str, torch.Tensor]

        @hookimpl
        def evaluation_start(self, trainer: Any) -> None:
            self.seen = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

        @hookimpl
        def evaluation_end(self, trainer: Any) -> None:
            assert all(torch.equal(self.seen[name], tensor) for name, tensor in trainer.model.state_dict().items())

    first, averaged, last = Look(), EmaWeights(decay=0.9), Look()
    trainer = train({"first": first, "averaged": averaged, "last": last}, epochs=1)
    plain = train({}, epochs=1)
    assert averaged.average is not None
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, plain.model.state_dict()[name]), "averaging must not touch training"
        assert torch.equal(first.seen[name], averaged.average[name])
        assert torch.equal(last.seen[name], averaged.average[name])
    assert any(not torch.equal(averaged.average[name], tensor) for name, tensor in plain.model.state_dict().items())


def test_an_error_in_validation_leaves_the_trained_weights(train: Callable[..., Any]) -> None:
    class Breaks:
        trained: dict[str, torch.Tensor]

        @hookimpl
        def step_end(self, trainer: Any) -> None:
            self.trained = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
            self.trainer = trainer

        @hookimpl
        def evaluation_batch(self) -> None:
            raise OSError("broken")

    breaks = Breaks()
    with pytest.raises(PluginError, match=r"callbacks\.breaks .* failed at evaluation_batch: OSError: broken"):
        train({"averaged": EmaWeights(decay=0.9), "breaks": breaks})
    assert all(torch.equal(tensor, breaks.trained[name]) for name, tensor in breaks.trainer.model.state_dict().items())


def test_both_sets_are_in_the_checkpoint(tmp_path: Path, train: Callable[..., Any]) -> None:
    averaged = EmaWeights(decay=0.9)
    trainer = train({"keep": Checkpoints(tmp_path), "averaged": averaged}, epochs=1)
    state = load_checkpoint(tmp_path / "last.safetensors")
    kept = state["callbacks"]["averaged"]["ema_weights"]
    assert averaged.average is not None
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(state["model"][name], tensor)
        assert torch.equal(kept[name], averaged.average[name])
