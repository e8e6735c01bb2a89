from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_callbacks.learning_rate_finder import LearningRateFinder, LearningRateFinderConfig, smooth_losses, suggest_rate
from forestgaps_core import hookimpl
from forestgaps_core.testing import check_callback


def test_contract(tmp_path: Path) -> None:
    check_callback(LearningRateFinderConfig(low=1e-5, high=0.1, steps=20, smoothing=0.5), tmp_path)


def test_rates_must_rise() -> None:
    with pytest.raises(ValueError, match=r"low = 1 must be below high = 0\.1"):
        LearningRateFinderConfig(low=1.0, high=0.1)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    """Worked by hand: over equal steps of the logarithm the steepest central difference is at the fourth."""
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    assert suggest_rate(rates, [5.0, 4.9, 4.5, 3.0, 2.0, 9.0]) == 1e-1  # (2.0 - 4.5) against (3.0 - 4.9) and (4.5 - 5.0)


@pytest.mark.parametrize("losses", [[], [1.0, 2.0, 3.0], [math.nan, math.nan], [1.0, 1.0, 1.0]])
def test_where_the_loss_never_falls_there_is_no_suggestion(losses: list[float]) -> None:
    assert suggest_rate([10.0**k for k in range(len(losses))], losses) is None


@given(value=st.floats(0.1, 10), keep=st.floats(0, 0.99), count=st.integers(1, 20))
def test_smoothing_leaves_a_constant_as_it_is(value: float, keep: float, count: int) -> None:
    assert smooth_losses([value] * count, keep) == pytest.approx([value] * count)


def test_a_run_tries_rates_from_low_to_high_writes_them_and_puts_the_weights_back(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    finder = LearningRateFinder(tmp_path / "rates.json", low=1e-4, high=1e-1, steps=12)
    trainer = train({"finder": finder})
    untouched = train({}, epochs=0)
    assert trainer.step == 12
    for one, other in zip(trainer.model.state_dict().values(), untouched.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    found = json.loads((tmp_path / "rates.json").read_text())
    assert len(found["losses"]) == 12
    assert found["rates"][0] == pytest.approx(1e-4)
    assert found["rates"][-1] == pytest.approx(1e-1)
    assert trainer.stopped is not None and str(finder.path) in trainer.stopped
    assert trainer.optimizer.state_dict()["state"] == {}


def test_rates_are_really_used(tmp_path: Path, train: Callable[..., Any]) -> None:
    class Look:
        def __init__(self) -> None:
            self.rates: list[float] = []

        @hookimpl
        def step_end(self, trainer: Any) -> None:
            self.rates.append(trainer.optimizer.param_groups[0]["lr"])

    look = Look()
    train({"look": look, "finder": LearningRateFinder(tmp_path / "rates.json", low=1e-4, high=1e-1, steps=10)})
    assert look.rates == pytest.approx([10 ** (-4 + 3 * k / 9) for k in range(10)])


def test_a_divergence_ends_it_early(tmp_path: Path, trainer: Any) -> None:
    finder = LearningRateFinder(tmp_path / "rates.json", steps=100, smoothing=0.0)
    trainer.optimizer, trainer.loss = torch.optim.SGD(trainer.model.parameters(), lr=0.1), None
    finder.fit_start(trainer)
    for step in range(1, 21):
        if trainer.stopped is None:
            finder.step_end(trainer, torch.tensor(1.0 - 0.05 * step if step < 15 else 50.0))
    assert len(json.loads(finder.path.read_text())["losses"]) == 20
    assert trainer.stopped is not None


def test_a_run_shorter_than_its_steps_still_answers(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"finder": LearningRateFinder(tmp_path / "rates.json", steps=100)}, epochs=1)
    assert len(json.loads((tmp_path / "rates.json").read_text())["losses"]) == 5
