"""A profile of some training steps."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from attrs.validators import ge
from torch.profiler import ProfilerActivity, profile, schedule

from forestgaps_core import hookimpl
from forestgaps_core.files.atomic import disk_errors, make_temporary_name, remove_file, write_text

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class ProfilerConfig:
    """Records some steps with torch's profiler, in the folder LABEL of the run.

    `trace.json` opens in Perfetto or chrome://tracing; `operators.txt` lists the operators that took longest.
    """

    wait: int = field(
        default=10, validator=ge(0), metadata={"help": "Steps before the first that is profiled, so that caches fill."}
    )
    warmup: int = field(default=2, validator=ge(0), metadata={"help": "Steps the profiler itself needs to settle; not recorded."})
    steps: int = field(default=5, validator=ge(1), metadata={"help": "Steps to record."})
    memory: bool = field(default=False, metadata={"help": "Also record allocations of memory; slower."})

    def build(self, run_folder: Path, label: str) -> Profiler:
        return Profiler(folder=run_folder / label, wait=self.wait, warmup=self.warmup, steps=self.steps, memory=self.memory)


@define(eq=False)
class Profiler:
    folder: Path
    wait: int = 10
    warmup: int = 2
    steps: int = 5
    memory: bool = False
    running: profile | None = field(default=None, init=False)
    left: int = field(default=0, init=False)  # steps until the recording is complete

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (trainer.device.type == "cuda")
        plan = schedule(wait=self.wait, warmup=self.warmup, active=self.steps, repeat=1)
        self.left = self.wait + self.warmup + self.steps
        self.running = profile(activities=activities, schedule=plan, profile_memory=self.memory, on_trace_ready=self.write)
        self.running.start()

    @hookimpl
    def step_end(self) -> None:
        if self.running is not None:
            self.left -= 1
            if self.left:
                self.running.step()
            else:
                self.finish()

    @hookimpl
    def fit_end(self) -> None:
        self.finish()

    def finish(self) -> None:
        running, self.running = self.running, None  # also where the disk does not take what was recorded
        if running is not None:
            running.stop()

    def write(self, recorded: profile) -> None:
        write_text(self.folder / "operators.txt", recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))
        trace = self.folder / "trace.json"
        draft = make_temporary_name(self.folder)
        with disk_errors(trace):
            try:
                recorded.export_chrome_trace(str(draft))
                check_complete(draft)
                draft.replace(trace)
            finally:
                remove_file(draft)


def check_complete(trace: Path) -> None:
    """Require a complete file: torch does not report a full disk.

    Raises:
        OSError: The file is missing or does not end as such a file does.
    """
    with trace.open("rb") as file:
        file.seek(-min(64, trace.stat().st_size), os.SEEK_END)
        if not file.read().rstrip().endswith(b"}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
