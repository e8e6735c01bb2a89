from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_callbacks.divergence_guard import DivergenceGuard, DivergenceGuardConfig
from forestgaps_core import hookimpl
from forestgaps_core.errors import NumbersError
from forestgaps_core.testing import check_callback


class Poison:
    """Makes the weights NaN once, or at each of some steps, as one bad batch would."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []

    @hookimpl
    def step_end(self, trainer: Any) -> None:
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])
        if trainer.step in self.steps:
            with torch.no_grad():
                trainer.model.layers[0].weight.fill_(math.nan)


def test_contract(tmp_path: Path) -> None:
    check_callback(DivergenceGuardConfig(every=5, action="roll_back", ratio=3.0, factor=0.1, tries=2), tmp_path)


def test_a_healthy_run_is_left_alone(train: Callable[..., Any]) -> None:
    watched = train({"guard": DivergenceGuard(every=2, action="roll_back")})
    plain = train({})
    assert watched.stopped is None
    assert all(torch.equal(a, b) for a, b in zip(watched.model.parameters(), plain.model.parameters(), strict=True))


def test_a_run_with_nan_is_stopped_at_the_next_look(train: Callable[..., Any]) -> None:
    with pytest.raises(NumbersError, match=r"step 4 \(epoch 1, batch 4\): weights that are not finite"):  # the core says where
        train({"poison": Poison(3), "guard": DivergenceGuard(every=2)})


def test_nan_in_the_weights_is_seen_before_any_loss_has_it(train: Callable[..., Any]) -> None:
    trainer = train({"poison": Poison(4), "guard": DivergenceGuard(every=2)})
    assert trainer.stopped == "the size of the weights became nan at step 4"


def test_going_back_takes_the_last_good_state_and_a_lower_rate(train: Callable[..., Any]) -> None:
    poison, guard = Poison(5), DivergenceGuard(every=2, action="roll_back", factor=0.5)
    trainer = train({"poison": poison, "guard": guard})
    assert trainer.stopped is None
    assert guard.returns == 1
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    assert poison.rates[:6] == pytest.approx([1e-2] * 6)
    assert poison.rates[6:] == pytest.approx([5e-3] * 9)


def test_the_good_state_is_that_of_the_last_look(train: Callable[..., Any]) -> None:
    """The weights after the return are those of step 4, where the guard looked last."""

    class Look:
        weights: dict[int, torch.Tensor]

        @hookimpl
        def fit_start(self) -> None:
            self.weights = {}

        @hookimpl
        def step_end(self, trainer: Any) -> None:
            self.weights[trainer.step] = trainer.model.layers[0].weight.detach().clone()

    look = Look()
    train({"poison": Poison(5), "guard": DivergenceGuard(every=2, action="roll_back"), "look": look}, epochs=2)
    assert torch.equal(look.weights[6], look.weights[4])


def test_going_back_twice_gives_the_same_state_of_the_optimizer(train: Callable[..., Any]) -> None:
    class Look:
        moments: dict[int, torch.Tensor]

        @hookimpl
        def fit_start(self) -> None:
            self.moments = {}

        @hookimpl
        def step_end(self, trainer: Any) -> None:
            state = trainer.optimizer.state[trainer.model.layers[0].weight]
            self.moments[trainer.step] = state["exp_avg"].clone()

    look = Look()
    train({"poison": Poison(5, 7), "guard": DivergenceGuard(every=2, action="roll_back"), "look": look}, epochs=2)
    assert torch.equal(look.moments[6], look.moments[4])
    assert torch.equal(look.moments[8], look.moments[4])


def test_after_its_tries_it_stops(train: Callable[..., Any]) -> None:
    guard = DivergenceGuard(every=2, action="roll_back", tries=2)
    with pytest.raises(NumbersError, match="step 6 "):
        train({"poison": Poison(1, 3, 5, 7), "guard": guard})
    assert guard.returns == 2


def test_a_loss_that_runs_away_is_a_divergence(trainer: Any) -> None:
    guard = DivergenceGuard(every=1, ratio=3.0)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    trainer.loss = None
    guard.fit_start(trainer)
    for trainer.step, loss in enumerate([1.0, 0.5, 1.4, 1.6], start=1):
        guard.step_end(trainer, torch.tensor(loss))
    assert trainer.stopped == "the loss diverged from 0.5 to 1.6 at step 4"


def test_the_optimizer_is_given_back_without_the_guard(train: Callable[..., Any]) -> None:
    guard = DivergenceGuard()
    trainer = train({"guard": guard}, epochs=1)
    assert guard.hook is None
    guard.returns = 5
    trainer.optimizer.param_groups[0]["lr"] = 1.0
    trainer.optimizer.step()
    assert trainer.optimizer.param_groups[0]["lr"] == 1.0
