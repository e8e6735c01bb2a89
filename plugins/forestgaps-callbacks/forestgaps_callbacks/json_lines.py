"""A log with one JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge

from forestgaps_callbacks.json_rows import JsonRowsCallback
from forestgaps_core import hookimpl
from forestgaps_tracking.interval import Interval, scalar_names

if TYPE_CHECKING:
    from torch import Tensor

    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class JsonLinesConfig:
    """Logs a run to `LABEL.jsonl` in the run folder, one JSON object per line.

    `{"row": "step", "step": 50, "epoch": 0, "train/loss": 0.61, "train/rate": 0.001, "train/gradient_norm": 1.9}` stands for the
    50 steps up to this one (mean loss, last rate, last gradient norm before clipping; `epoch` counts completed ones).
    `{"row": "epoch", "step": 200, "epoch": 1, "train/loss": ..., "validation/gaps/gap_iou": ...}` has every score of an epoch.
    A value that is not finite is null, because JSON has no other word for it. A resumed run removes the rows that it writes again,
    so the log equals that of an uninterrupted run.
    """

    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one row to the next."})
    timestamps: bool = field(
        default=False, metadata={"help": "Add the time of writing to each row, UTC; the logs of two runs then differ."}
    )

    def build(self, run_folder: Path, label: str) -> JsonLines:
        return JsonLines(path=run_folder / f"{label}.jsonl", every=self.every, timestamps=self.timestamps)


@define(eq=False)
class JsonLines(JsonRowsCallback):
    every: int = 50
    timestamps: bool = False
    interval: Interval = field(factory=Interval, init=False)

    # A log hears these events last, when all other callbacks have logged their values.
    @hookimpl(trylast=True)
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss, trainer.logged)
        if trainer.step % self.every == 0:
            self.write("step", trainer, dict.fromkeys(scalar_names("train")) | self.interval.read(trainer, "train"))

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        self.write("epoch", trainer, scores)

    def write(self, row: str, trainer: Trainer, values: Mapping[str, float | None]) -> None:
        time = {"time": datetime.now(UTC).isoformat(timespec="seconds")} if self.timestamps else {}
        self.rows.add(row, trainer, {**time, **values})

    def state_dict(self) -> dict[str, Any]:
        return {**self.interval.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.interval.load_state_dict(state)
        super().load_state_dict(state)
