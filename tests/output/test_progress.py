"""Bars on a terminal, lines at intervals elsewhere."""

import io
import threading
import time

import pytest
from rich.console import Console

from forestgaps_core.output.progress import INTERVAL_S, RepeatedLines, format_progress, format_seconds, show_progress


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=120)


def log_file() -> Console:
    return Console(file=io.StringIO(), width=80)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_show_progress_on_a_terminal_draws_a_bar_for_each_work() -> None:
    console = terminal()
    with show_progress(console=console) as report:
        for what in ("checking dsm.tif", "mapping", "mapping"):
            report(what, 0, 10)
            report(what, 10, 10)
    last = text_of(console).rpartition("checking dsm.tif")[2]
    assert last.count("mapping") == 2, "work that begins again has another bar"
    assert last.count("rows/s") == 3


def test_show_progress_in_a_log_file_writes_a_line_at_every_interval_even_without_a_new_report() -> None:
    console = log_file()
    with show_progress("rows", console=console, interval_s=0.01) as report:
        report("mapping", 2048, 8192)
        wait_for(console, 3)
    lines = text_of(console).splitlines()
    assert all(line.startswith("mapping: 25% (2,048 of 8,192 rows), ") for line in lines)


def wait_for(console: Console, lines: int) -> None:
    patience = time.monotonic() + 600
    while text_of(console).count("\n") < lines:
        assert time.monotonic() < patience, text_of(console)
        time.sleep(0.005)


def test_show_progress_reports_at_least_once_a_minute() -> None:
    assert INTERVAL_S < 60


def test_show_progress_leaves_no_thread_and_no_line_of_short_work() -> None:
    console, threads = log_file(), threading.active_count()
    with show_progress(console=console) as report:
        report("mapping", 1, 2)
    assert threading.active_count() == threads and text_of(console) == ""


def test_show_progress_leaves_no_thread_after_an_error() -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), show_progress(console=log_file()) as report:
        report("mapping", 1, 1 // 0)
    assert threading.active_count() == threads


def test_show_progress_not_shown_draws_nothing_on_a_terminal() -> None:
    console = terminal()
    with show_progress(shown=False, console=console) as report:
        report("mapping", 0, 10)
    assert text_of(console) == ""


def test_show_progress_prints_names_of_files_as_text() -> None:
    console = log_file()
    with show_progress(console=console, interval_s=0.01) as report:
        report("reading [bold]a\x1b[31m.tif", 1, 2)
        wait_for(console, 1)
    assert "[bold]a\\x1b[31m.tif" in text_of(console)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (("gaps 5 m", 50, 200, "rows", 30.0), "gaps 5 m: 25% (50 of 200 rows), 30 s, about 90 s left"),
        (("gaps 5 m", 0, 200, "rows", 60.0), "gaps 5 m: 0% (0 of 200 rows), 60 s"),
        (("gaps 5 m", 200, 200, "rows", 600.0), "gaps 5 m: 100% (200 of 200 rows), 10 min"),
        (("test", 12, None, "batches", 9000.0), "test: 12 batches, 2.5 h"),
        (("test", 0, None, "batches", 5.0), "test: running, 5 s"),
        (("empty", 0, 0, "rows", 5.0), "empty: running, 5 s"),
    ],
)
def test_progress_line_has_fraction_time_and_time_left(state: tuple[str, int, int | None, str, float], line: str) -> None:
    assert format_progress(*state) == line


def test_progress_line_of_resumed_work_counts_from_where_it_began() -> None:
    assert (
        format_progress("training", 85, 320, "steps", 20.0, first=65) == "training: 27% (85 of 320 steps), 20 s, about 4 min left"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")])
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_repeated_lines_after_other_work_keep_the_time_of_the_first_work() -> None:
    lines = RepeatedLines(lambda line: None)
    lines.set("training", 3, 100, "steps")
    began = lines.starts["training"]
    lines.set("evaluating on validation", 0, 3, "batches")
    lines.set("evaluating on validation", 3, 3, "batches")
    evaluated = lines.starts["evaluating on validation"]
    lines.set("training", 9, 100, "steps")
    assert lines.starts["training"] == began, "the time of the whole training, not since the last evaluation"
    lines.set("evaluating on validation", 0, 3, "batches")
    assert lines.starts["evaluating on validation"] != evaluated, "an evaluation that starts again has its own time"
