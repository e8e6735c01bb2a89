from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forestgaps_callbacks.ema_weights import EmaWeights
from forestgaps_callbacks.restore_best import RestoreBest, RestoreBestConfig
from forestgaps_core import ConfigError, hookimpl
from forestgaps_core.testing import check_callback

NAME = "validation/gaps/gap_iou"


class FakeTrainer:
    """A trainer whose only weight is its epoch."""

    def __init__(self) -> None:
        self.epoch, self.epochs, self.model, self.final = 0, 4, nn.Linear(1, 1, bias=False), False

    def state_dict(self) -> dict[str, Any]:
        return {"position": {"stopped": "enough" if self.final else None}}


def weight_after(scores: list[float], *, final: bool = False, mode: Any = "max") -> float:
    trainer: Any = FakeTrainer()
    callback = RestoreBest(NAME, mode=mode)
    for trainer.epoch, score in enumerate(scores, start=1):
        nn.init.constant_(trainer.model.weight, trainer.epoch)
        callback.evaluation_end(trainer, "validation", {NAME: score})
    trainer.final = final
    callback.fit_end(trainer)
    return float(trainer.model.weight.item())


def test_contract(tmp_path: Path) -> None:
    check_callback(RestoreBestConfig(score=NAME, mode="min"), tmp_path)


def test_a_complete_run_ends_with_its_best_weights() -> None:
    assert weight_after([0.1, 0.4, 0.3, 0.2]) == 2
    assert weight_after([0.1, 0.4, 0.3, 0.05], mode="min") == 4


def test_so_does_one_stopped_for_good() -> None:
    assert weight_after([0.1, 0.4, 0.3], final=True) == 2


def test_one_stopped_to_be_resumed_keeps_its_last() -> None:
    assert weight_after([0.1, 0.4, 0.3]) == 3


def test_without_a_defined_score_the_last_weights_stay() -> None:
    assert weight_after([float("nan")] * 4) == 4


def test_a_misspelled_score_is_an_error() -> None:
    trainer: Any = FakeTrainer()
    with pytest.raises(ConfigError, match=r"callbacks\.best\.score"):
        RestoreBest("validation/gaps/gapiou", label="best").evaluation_end(trainer, "validation", {NAME: 0.5})


def test_scores_of_the_test_split_choose_nothing() -> None:
    trainer: Any = FakeTrainer()
    callback = RestoreBest(NAME)
    callback.evaluation_end(trainer, "test", {"test/gaps/gap_iou": 0.5})
    assert callback.weights is None


def test_the_change_of_weights_is_declared(train: Callable[..., Any]) -> None:
    class Fills:
        changes = frozenset({"weights"})

        @hookimpl
        def fit_end(self, trainer: Any) -> None:
            with torch.no_grad():
                trainer.model.layers[0].weight.fill_(1e3)

    trainer = train({"fills": Fills(), "best": RestoreBest("validation/loss", mode="min")}, epochs=2, check_changes=True)
    assert trainer.model.layers[0].weight.abs().max() < 1e3


@pytest.mark.parametrize("order", [("best", "averaged"), ("averaged", "best")])
def test_what_was_evaluated_is_what_is_restored(train: Callable[..., Any], order: tuple[str, ...]) -> None:
    class Look:
        seen: list[torch.Tensor]

        @hookimpl
        def fit_start(self) -> None:
            self.seen = []

        @hookimpl
        def evaluation_start(self, trainer: Any) -> None:
            self.seen.append(trainer.model.layers[0].weight.clone())

    parts: dict[str, object] = {"best": RestoreBest("validation/loss", mode="min"), "averaged": EmaWeights(decay=0.9)}
    look = Look()
    trainer = train({name: parts[name] for name in order} | {"look": look}, epochs=2)
    assert any(torch.equal(trainer.model.layers[0].weight, seen) for seen in look.seen)
