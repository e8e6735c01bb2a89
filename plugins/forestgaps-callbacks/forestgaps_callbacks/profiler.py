"""Where the time of a step goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from attrs.validators import ge
from torch.profiler import ProfilerActivity, profile, schedule

from forestgaps_core import hookimpl

if TYPE_CHECKING:
    from forestgaps_core.trainer import Trainer


@frozen(kw_only=True)
class ProfilerConfig:
    """Records some steps with torch's profiler, in the folder LABEL of the run.

    `trace.json` opens in Perfetto or chrome://tracing; `operators.txt` lists what took longest.
    """

    wait: int = field(default=10, validator=ge(0), metadata={"help": "Steps to let pass first, in which caches fill."})
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
            self.running.step()
            self.left -= 1
            if self.left == 0:
                self.finish()

    @hookimpl
    def fit_end(self) -> None:
        self.finish()

    def finish(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None

    def write(self, recorded: profile) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.folder / "trace.json"))
        table = recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
        (self.folder / "operators.txt").write_text(table, encoding="utf-8")
