"""The progress of training on the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from forestgaps_callbacks.scores import find_score
from forestgaps_core import hookimpl
from forestgaps_core.output.counts import format_count
from forestgaps_core.output.progress import INTERVAL_S, RepeatedLines

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class ProgressConfig:
    """Prints a line per epoch with loss, scores and seconds; also a progress bar on a terminal, or else one line per minute."""

    scores: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Full names of the scores to show, such as validation/gaps/gap_iou; "
            "empty: every gap_iou, pooled or else per threshold, or else the first score of the validation."
        },
    )

    def build(self, label: str) -> Progress:
        return Progress(scores=self.scores, label=label)


@define(eq=False)
class Progress:
    scores: tuple[str, ...] = ()
    label: str = "progress"
    console: Console = field(factory=Console)
    bars: Bars | None = field(default=None, init=False)
    training: TaskID = field(default=TaskID(0), init=False)
    evaluation: TaskID | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)  # seconds
    lines: RepeatedLines | None = field(default=None, init=False)  # where there is no terminal
    evaluated: int = field(default=0, init=False)  # batches of the current evaluation
    batches: int | None = field(default=None, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        if self.console.is_interactive:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
            self.bars = Bars(*columns, console=self.console)
            self.training = self.bars.add_task("training", total=trainer.total_steps, completed=trainer.step)
            self.bars.start()
        else:
            self.lines = RepeatedLines(self.print_line, INTERVAL_S)
            self.lines.set("training", trainer.step, trainer.total_steps, "steps")
            self.lines.start()

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        self.started_at = time.monotonic()
        if self.bars:
            self.bars.update(self.training, description=f"epoch {trainer.epoch + 1}/{trainer.epochs}")

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        if self.bars:
            self.bars.update(self.training, completed=trainer.step)
        if self.lines:
            self.lines.set("training", trainer.step, trainer.total_steps, "steps")

    @hookimpl
    def evaluation_start(self, split: str, batches: int | None) -> None:
        if self.bars:
            self.evaluation = self.bars.add_task(split, total=batches)
        if self.lines:
            self.evaluated, self.batches = 0, batches
            self.lines.set(f"evaluating on {split}", 0, batches, "batches")

    @hookimpl
    def evaluation_batch(self) -> None:
        if self.bars and self.evaluation is not None:
            self.bars.advance(self.evaluation)
        if self.lines and self.lines.state:
            self.evaluated += 1
            self.lines.set(self.lines.state[0], self.evaluated, self.batches, "batches")

    @hookimpl
    def evaluation_end(self) -> None:
        if self.bars and self.evaluation is not None:
            self.bars.remove_task(self.evaluation)
            self.evaluation = None

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        width = len(str(trainer.epochs))
        named = shorten_names(["train/loss", *self.select_scores(scores)])
        values = [f"{title} {scores[name]:.4f}" for name, title in named.items()]
        seconds = time.monotonic() - self.started_at
        self.print_line("  ".join([f"epoch {trainer.epoch:{width}}/{trainer.epochs}", *values, f"{seconds:.1f} s"]))

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        if self.bars:
            self.bars.stop()
            self.bars = self.evaluation = None
        if self.lines:
            self.lines.stop()
            self.lines = None
        if trainer.stopped is not None:
            self.print_line(
                f"stopped after {format_count(trainer.epoch, 'epoch')}, {format_count(trainer.step, 'step')}: {trainer.stopped}"
            )

    def select_scores(self, scores: Mapping[str, float]) -> list[str]:
        if self.scores:
            place = f"callbacks.{self.label}.scores"
            return [name for name in self.scores if find_score(scores, name, place) is not None]
        validated = [name for name in scores if name.startswith("validation/")]
        pooled = [name for name in validated if name.endswith("/gap_iou")]
        return pooled or [name for name in validated if "/gap_iou@" in name] or validated[:1]

    def print_line(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Rate(ProgressColumn):
    """Steps per second, or seconds per step where a step is slow."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def shorten_names(names: Iterable[str]) -> dict[str, str]:
    """Return the last part of each name if these are different, otherwise the full names."""
    names = list(names)
    short = [name.rpartition("/")[2] for name in names]
    return {name: last if short.count(last) == 1 else name for name, last in zip(names, short, strict=True)}
