"""Checkpoints: the last state of a run, and the best ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge, gt, optional

from forestgaps_callbacks.scores import Mode, find_score, improves
from forestgaps_core import hookimpl
from forestgaps_core.errors import DiskError
from forestgaps_core.files.atomic import disk_errors

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class CheckpointsConfig:
    """Keeps the last state of a run, and the best ones by a score, in the folder `checkpoints` of the run.

    A run resumes from `last.safetensors`. It is written at the intervals below, and when training ends or is stopped, but not
    after an error. `best.safetensors` is the state with the best score so far. If `best` is above 1, each of the best states
    also has a file named by its epoch, such as `best-epoch-0012.safetensors`, until a better state replaces it.
    """

    every_epochs: int = field(
        default=1, validator=ge(0), metadata={"help": "Epochs from one last.safetensors to the next; 0: not by epochs."}
    )
    every_steps: int | None = field(
        default=None,
        validator=optional(ge(1)),
        metadata={"help": "Also write last.safetensors every so many optimizer steps; absent: not by steps."},
    )
    every_minutes: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Also write last.safetensors when so many minutes have passed since the last one; absent: not by time."},
    )
    score: str | None = field(
        default=None,
        metadata={"help": "Full name of the score that chooses the best, such as validation/gaps/gap_iou; absent: keep no best."},
    )
    mode: Mode = field(default="max", metadata={"help": "max where a larger score is better, min where a smaller one is."})
    best: int = field(default=1, validator=ge(1), metadata={"help": "How many of the best states to keep."})

    def build(self, run_folder: Path, label: str) -> Checkpoints:
        return Checkpoints(
            folder=run_folder / "checkpoints",
            every_epochs=self.every_epochs,
            every_steps=self.every_steps,
            every_minutes=self.every_minutes,
            score=self.score,
            mode=self.mode,
            best=self.best,
            label=label,
        )


@define(eq=False)
class Checkpoints:
    folder: Path
    every_epochs: int = 1
    every_steps: int | None = None
    every_minutes: float | None = None
    score: str | None = None
    mode: Mode = "max"
    best: int = 1
    label: str = "checkpoints"
    ranking: list[tuple[float, int]] = field(factory=list, init=False)  # (score, epoch), the best first; a tail yet to be removed
    asked: int | None = field(default=None, init=False)  # epoch that best.safetensors was last asked for
    trainer: Trainer | None = field(default=None, init=False)
    saved_at: float = field(factory=time.monotonic, init=False)  # seconds, of last.safetensors

    @hookimpl
    def fit_start(self) -> None:
        self.saved_at = time.monotonic()
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    # Called last, in order to know whether another callback has stopped the run.
    @hookimpl(trylast=True)
    def step_end(self, trainer: Trainer) -> None:
        by_steps = self.every_steps is not None and trainer.step % self.every_steps == 0
        by_time = self.every_minutes is not None and time.monotonic() - self.saved_at >= 60 * self.every_minutes
        if by_steps or by_time or trainer.stopped is not None:
            self.save_last(trainer)

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        with suppress(DiskError):  # tried again at the next end of an epoch
            self.remove_outdated()
        self.trainer = trainer
        # The best first: a run resumed from last.safetensors then finds the best its state speaks of.
        if self.score is not None:
            value = find_score(scores, self.score, f"callbacks.{self.label}.score")
            if value is not None:
                self.rank(trainer, value)
        due = bool(self.every_epochs) and trainer.epoch % self.every_epochs == 0
        if due or trainer.epoch >= trainer.epochs or trainer.stopped is not None:
            self.save_last(trainer)

    @hookimpl
    def fit_end(self) -> None:
        self.remove_outdated()

    def save_last(self, trainer: Trainer) -> None:
        trainer.checkpoint(self.folder / "last.safetensors")
        self.saved_at = time.monotonic()

    def rank(self, trainer: Trainer, value: float) -> None:
        place = sum(not improves(value, score, self.mode) for score, _ in self.ranking)
        if place >= self.best or not improves(value, None, self.mode):
            return
        self.ranking.insert(place, (value, trainer.epoch))
        if place == 0:
            self.asked = trainer.epoch
            trainer.checkpoint(self.folder / "best.safetensors")
        if self.best > 1:
            trainer.checkpoint(self.path(trainer.epoch))

    def written(self) -> list[tuple[float, int]]:
        """Return the ranking without the states that could not be written; others are then the best."""
        failed = self.trainer.unwritten if self.trainer is not None else set()
        lost = {self.asked} if self.folder / "best.safetensors" in failed else set()
        return [entry for entry in self.ranking if entry[1] not in lost and self.path(entry[1]) not in failed]

    def remove_outdated(self) -> None:
        """Remove the states that are no longer among the best, once those that took their places are on disk.

        Raises:
            DiskError: One cannot be removed.
        """
        kept = self.written()
        gone = [entry for entry in self.ranking if entry not in kept] + kept[self.best :]
        self.ranking = kept
        if self.best > 1 and all(self.path(epoch).exists() for _, epoch in kept[: self.best]):
            for path in (self.path(epoch) for _, epoch in gone):
                with disk_errors(path):
                    if path.exists():
                        path.unlink()
        del self.ranking[self.best :]

    def path(self, epoch: int) -> Path:
        return self.folder / f"best-epoch-{epoch:04d}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        return {"ranking": [list(entry) for entry in self.written()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ranking = [(score, epoch) for score, epoch in state["ranking"]]
