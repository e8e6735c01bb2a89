"""Stop training when a score no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge

from forestgaps_callbacks.scores import Mode, find_score, improves
from forestgaps_core import hookimpl
from forestgaps_core.output.counts import format_count

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class EarlyStoppingConfig:
    """Ends the training when a score has not improved for some epochs.

    An epoch improves when its score is better than the best so far by more than `minimum_change`. A score that is not
    defined (NaN) or not finite counts as no improvement. Epochs without validation are counted, but cannot end the training.
    """

    score: str = field(metadata={"help": "Full name of the score, such as validation/gaps/gap_iou."})
    patience: int = field(default=10, validator=ge(1), metadata={"help": "Epochs to wait for an improvement."})
    minimum_change: float = field(
        default=0.0,
        validator=ge(0),
        metadata={"help": "Smallest change of the score that counts as an improvement, unit of the score."},
    )
    mode: Mode = field(default="max", metadata={"help": "max where a larger score is better, min where a smaller one is."})
    limit: float | None = field(
        default=None, metadata={"help": "Stop at once when the score is worse than this, unit of the score; absent: never."}
    )

    def build(self, label: str) -> EarlyStopping:
        return EarlyStopping(
            score=self.score,
            patience=self.patience,
            minimum_change=self.minimum_change,
            mode=self.mode,
            limit=self.limit,
            label=label,
        )


@define(eq=False)
class EarlyStopping:
    score: str
    patience: int = 10
    minimum_change: float = 0.0
    mode: Mode = "max"
    limit: float | None = None
    label: str = "early_stopping"
    best: float | None = field(default=None, init=False)
    since: int = field(default=0, init=False)  # epoch of the best score

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        value = find_score(scores, self.score, f"callbacks.{self.label}.score")
        if value is None:
            return
        if self.limit is not None and math.isfinite(value) and improves(self.limit, value, self.mode):
            trainer.stop(f"{self.score} is {value:.4g}, worse than the limit of {self.limit:.4g}")
        elif improves(value, self.best, self.mode, by=self.minimum_change):
            self.best, self.since = value, trainer.epoch
        elif trainer.epoch - self.since >= self.patience:
            best = "never defined" if self.best is None else f"best: {self.best:.4g} after epoch {self.since}"
            trainer.stop(f"{self.score} has not improved for {format_count(trainer.epoch - self.since, 'epoch')} ({best})")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "since": self.since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.since = state["best"], state["since"]
