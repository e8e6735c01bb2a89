"""Time and memory of a run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import define, field, frozen

from forestgaps_callbacks.json_rows import JsonRowsCallback
from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class MeterConfig:
    """Writes time and memory of each epoch to `LABEL.jsonl` in the run folder.

    `seconds/train` and `seconds/validation` are wall-clock times. `steps_per_second` is that of training, without validation.
    `memory/process_mb` is the peak memory of this process so far. `memory/gpu_mb` is the peak memory of tensors on the GPU in the
    epoch. A value that the system does not report is null. 1 MB is 10^6 bytes.
    """

    def build(self, run_folder: Path, label: str) -> Meter:
        return Meter(path=run_folder / f"{label}.jsonl")


@define(eq=False)
class Meter(JsonRowsCallback):
    started_at: float = field(default=0.0, init=False)
    validation_began: float | None = field(default=None, init=False)
    validation: float | None = field(default=None, init=False)  # seconds
    first_step: int = field(default=0, init=False)  # of the epoch, in this session

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        self.started_at, self.first_step, self.validation = time.monotonic(), trainer.step, None
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.device)

    @hookimpl
    def evaluation_start(self) -> None:
        self.validation_began = time.monotonic()

    @hookimpl
    def evaluation_end(self) -> None:
        if self.validation_began is not None:
            self.validation = time.monotonic() - self.validation_began

    @hookimpl
    def epoch_end(self, trainer: Trainer) -> None:
        training = time.monotonic() - self.started_at - (self.validation or 0.0)
        values = {
            "seconds/train": training,
            "seconds/validation": self.validation,
            "steps_per_second": (trainer.step - self.first_step) / training if training > 0 else None,
            "memory/process_mb": measure_process_mb(),
            "memory/gpu_mb": torch.cuda.max_memory_allocated(trainer.device) / 1e6 if trainer.device.type == "cuda" else None,
        }
        self.rows.add("epoch", trainer, values)


def measure_process_mb() -> float | None:
    """Return the peak memory of this process in MB, or None where the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
