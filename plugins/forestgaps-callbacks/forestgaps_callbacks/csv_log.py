"""A log of two CSV tables, for spreadsheets and R."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge

from forestgaps_callbacks.csv_table import CsvTable
from forestgaps_callbacks.rows import is_past
from forestgaps_core import hookimpl
from forestgaps_tracking.interval import Interval, scalar_names

if TYPE_CHECKING:
    from torch import Tensor

    from forestgaps_core.training.trainer import Trainer

PLACE = ["step", "epoch"]


@frozen(kw_only=True)
class CsvLogConfig:
    """Logs a run to two tables in the run folder.

    `LABEL_steps.csv` has a row per interval: step, completed epochs, mean loss, last rate, last gradient norm before
    clipping. `LABEL_epochs.csv` has a row per epoch with every score. A score that appears for the first time gets a column
    at the right end; columns never move. A value that is not defined is `nan`; one that was not measured is empty. A resumed
    run removes the rows that it writes again, so the tables equal those of an uninterrupted run.
    """

    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one row to the next."})

    def build(self, run_folder: Path, label: str) -> CsvLog:
        return CsvLog(
            steps=CsvTable(path=run_folder / f"{label}_steps.csv", columns=[*PLACE, *scalar_names("train")]),
            epochs=CsvTable(path=run_folder / f"{label}_epochs.csv", columns=list(PLACE)),
            every=self.every,
        )


@define(eq=False)
class CsvLog:
    steps: CsvTable
    epochs: CsvTable
    every: int = 50
    interval: Interval = field(factory=Interval, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.steps.reopen(lambda row: is_past(trainer, step=int(row["step"]), epoch=None))
        self.epochs.reopen(lambda row: is_past(trainer, step=int(row["step"]), epoch=int(row["epoch"])))

    # A log hears these events last, when all other callbacks have logged their values.
    @hookimpl(trylast=True)
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss, trainer.logged)
        if trainer.step % self.every == 0:
            self.steps.add({"step": trainer.step, "epoch": trainer.epoch, **self.interval.read(trainer, "train")})

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        self.epochs.add({"step": trainer.step, "epoch": trainer.epoch, **scores})

    @hookimpl
    def fit_end(self) -> None:
        self.steps.close()
        self.epochs.close()

    def state_dict(self) -> dict[str, Any]:
        return {**self.interval.state_dict(), "steps_table": self.steps.state_dict(), "epochs_table": self.epochs.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.interval.load_state_dict(state)
        self.steps.load_state_dict(state.get("steps_table", {}))
        self.epochs.load_state_dict(state.get("epochs_table", {}))
