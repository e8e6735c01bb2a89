"""Restore the best weights at the end of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field, frozen
from torch import Tensor

from forestgaps_callbacks.scores import Mode, find_score, improves
from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class RestoreBestConfig:
    """Restores the weights with the best validation score when training has ended.

    It is for notebooks, where the trained network is used directly. In a run folder, the callback `checkpoints` writes these
    weights to `checkpoints/best.safetensors`. The weights are those that were evaluated: EMA weights, if the run has them.
    After an error, or after a stop from which the run can be resumed, the network keeps its last weights.
    """

    score: str = field(metadata={"help": "Full name of a score of the validation, such as validation/gaps/gap_iou."})
    mode: Mode = field(default="max", metadata={"help": "max where a larger score is better, min where a smaller one is."})

    def build(self, label: str) -> RestoreBest:
        return RestoreBest(score=self.score, mode=self.mode, label=label)


@define(eq=False)
class RestoreBest:
    changes: ClassVar = frozenset({"weights"})

    score: str
    mode: Mode = "max"
    label: str = "restore_best"
    best: float | None = field(default=None, init=False)
    weights: dict[str, Tensor] | None = field(default=None, init=False)

    @hookimpl
    def evaluation_end(self, trainer: Trainer, split: str, scores: Mapping[str, float]) -> None:
        if split != "validation" or not scores:  # no scores: interrupted
            return
        value = find_score(scores, self.score, f"callbacks.{self.label}.score")
        if value is not None and improves(value, self.best, self.mode):
            self.best = value
            self.weights = {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        # What a checkpoint says of the stop tells one for good from a pause.
        ended = trainer.epoch >= trainer.epochs or trainer.state_dict()["position"]["stopped"] is not None
        if self.weights is not None and ended:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.weights = state["best"], state["weights"]
