"""Progress of long work: a bar on a terminal, a line per minute in a pipe or log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from forestgaps_core.errors import printable

INTERVAL_S = 50.0  # between two lines; with the time it takes to write one, less than a minute

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Takes (what is done, how much is done, of how much; None if that is unknown)."""


def ignore_progress(what: str, done: int, total: int | None) -> None:
    """Report nothing."""


@contextmanager
def show_progress(
    unit: str = "rows", *, shown: bool = True, console: Console | None = None, interval_s: float = INTERVAL_S
) -> Iterator[Report]:
    """Show on the error stream what is reported, so that results can be piped.

    Args:
        unit: Of the numbers that are reported, in the plural.
        shown: False, as for --json: no bars on a terminal.
        interval_s: From one line to the next where there is no terminal.
    """
    console = console or Console(stderr=True)
    if console.is_terminal and not shown:
        yield ignore_progress
    elif console.is_terminal:
        with show_bars(unit, console) as report:
            yield report
    else:
        with repeat_lines(lambda line: print_line(line, console), interval_s) as lines:
            yield lambda what, done, total: lines.set(what, done, total, unit)


def print_line(line: str, console: Console) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


# --- bars -----------------------------------------------------------------------------------------------------------


@define(eq=False)
class Rate(ProgressColumn):
    """Units a second since the beginning; a mean, because reports come at long intervals."""

    unit: str

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        rate = task.completed / seconds if seconds else 0.0
        return Text(f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.1f} {self.unit}/s" if rate else "")


@contextmanager
def show_bars(unit: str, console: Console) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Rate(unit),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks or done == 0:
                tasks[what] = progress.add_task(printable(what), total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


# --- lines ----------------------------------------------------------------------------------------------------------


@define(eq=False)
class RepeatedLines:
    """Writes a line at every interval, also while a single step takes longer than that.

    A thread writes them; what is set meanwhile is only remembered.
    """

    write: Callable[[str], None]
    interval_s: float = INTERVAL_S
    state: tuple[str, int, int | None, str] | None = field(default=None, init=False)
    starts: dict[str, tuple[float, int]] = field(factory=dict, init=False)
    """For each work, when it began (seconds), and what was done then: more than 0 in a resumed run."""
    done: dict[str, int] = field(factory=dict, init=False)
    ended: threading.Event = field(factory=threading.Event, init=False)
    thread: threading.Thread | None = field(default=None, init=False)

    def set(self, what: str, done: int, total: int | None, unit: str) -> None:
        if what not in self.starts or done < self.done[what]:  # fewer than before: the same work on something else
            self.starts[what] = (time.monotonic(), done)
        self.done[what] = done
        self.state = (what, done, total, unit)

    def start(self) -> None:
        self.thread = threading.Thread(target=self.repeat, daemon=True, name="forestgaps progress")
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        if self.thread is not None:
            self.thread.join()

    def repeat(self) -> None:
        while not self.ended.wait(self.interval_s):
            if self.state is not None:
                began, first = self.starts[self.state[0]]
                self.write(format_progress(*self.state, time.monotonic() - began, first))


@contextmanager
def repeat_lines(write: Callable[[str], None], interval_s: float = INTERVAL_S) -> Iterator[RepeatedLines]:
    lines = RepeatedLines(write, interval_s)
    lines.start()
    try:
        yield lines
    finally:
        lines.stop()


def format_progress(what: str, done: int, total: int | None, unit: str, seconds: float, first: int = 0) -> str:
    """Return such as "gaps 5 m: 37% (3,200 of 8,192 rows), 80 s, about 2 min left".

    Args:
        seconds: Since `first` units were done.
    """
    amount = f"{done:,} {unit}" if total is None else f"{done / max(total, 1):.0%} ({done:,} of {total:,} {unit})"
    known = total is not None and first < done < total
    left = f", about {format_seconds(seconds * ((total or 0) - done) / (done - first))} left" if known else ""
    return f"{what}: {amount if done or total else 'running'}, {format_seconds(seconds)}{left}"


def format_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
