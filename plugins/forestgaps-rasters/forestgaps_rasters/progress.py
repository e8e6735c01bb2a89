"""A progress bar with a rate and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from forestgaps_geo.bands import Report, silent


class Rate(ProgressColumn):
    """Rows a second since the beginning; a mean, because strips come at long intervals."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        return Text(f"{task.completed / seconds:,.0f} rows/s" if seconds else "")


@contextmanager
def bar(*, shown: bool) -> Iterator[Report]:
    """What to tell the progress to, one bar for each thing told; on the error stream, so that results can be piped."""
    if not shown:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks or done == 0:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report
