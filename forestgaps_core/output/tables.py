"""Output at the end of a command: tables that fit the terminal, scores, written files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from forestgaps_core.errors import printable
from forestgaps_core.files.lock import LOCK
from forestgaps_core.output.counts import format_count

MAX_LISTED = 6  # files of a folder that are named one by one
FRAME = 3  # characters that the frame adds to a column
ALL = "all"  # the row of a score that is not of one threshold


def list_written_files(folder: Path) -> Iterator[str]:
    """The files of a run folder without its lock; of an inner folder with many, only how many."""
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != LOCK):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        lines = map(str, files) if len(files) <= MAX_LISTED else [f"{path}: {format_count(len(files), 'file')}"]
        yield from map(printable, lines)


# --- tables ---------------------------------------------------------------------------------------------------------


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None, *, title: str = "", dim: Sequence[int] = ()
) -> None:
    """Print a table of texts. One that is wider than the terminal becomes several, with the first column repeated.

    A text that is still too wide is broken into lines, never cut. A cell may have several lines.

    Args:
        dim: Numbers of rows to print faintly.
    """
    console = console or Console()
    texts = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(measure_width(row[place]) for row in texts) for place in range(len(head))]
    lines = any("\n" in cell for row in texts for cell in row)
    for place, columns in enumerate(group_columns(widths, console.width)):
        chosen = [Column(Text(head[n]), overflow="fold", justify="right" if n else "left") for n in columns]
        table = Table(*chosen, title=Text(printable(title)) if place == 0 and title else None, title_justify="left")
        table.box, table.show_edge, table.show_lines = SIMPLE_HEAD, False, lines
        for number, row in enumerate(texts[1:]):
            table.add_row(*(Text(row[n]) for n in columns), style="dim" if number in dim else None)
        console.print(table)
        console.print()


def measure_width(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def group_columns(widths: Sequence[int], room: int) -> list[list[int]]:
    """Return the columns of each table: as many as fit beside the first, and at least one."""
    first = min(widths[0], max(room // 3, 8)) + FRAME
    groups: list[list[int]] = []
    left = 0
    for column, width in enumerate(widths[1:], start=1):
        if not groups or width + FRAME > left:
            groups.append([0])
            left = room - first
        groups[-1].append(column)
        left -= width + FRAME
    return groups or [[0]]


# --- scores ---------------------------------------------------------------------------------------------------------


def show_scores(scores: Mapping[str, float], console: Console | None = None) -> None:
    """Print a table for each metric: a row for each threshold (`name@5m`) and one for all together, a column for each score.

    A metric without scores by threshold has a row for each score. Undefined values are printed as -.
    """
    metrics: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in scores.items():
        metric, _, score = name.partition("/")[2].rpartition("/")
        score, _, level = score.partition("@")
        metrics.setdefault(metric, {}).setdefault(level or ALL, {})[score] = value
    undefined = any(value != value for value in scores.values())
    for metric, levels in metrics.items():
        names = list(dict.fromkeys(score for row in levels.values() for score in row))
        if list(levels) == [ALL]:
            head, rows = [metric or "score", "value"], [[name, format_number(levels[ALL][name])] for name in names]
        else:
            head = [metric or "threshold", *names]
            rows = [[format_level(level), *(format_score(row, name) for name in names)] for level, row in levels.items()]
        print_table(head, rows, console)
    if undefined:
        (console or Console()).print("-: not defined, such as a score of gaps where the reference has none", highlight=False)


def format_level(level: str) -> str:
    """A threshold as it is printed: "5 m" for the 5m of `gap_iou@5m`."""
    return f"{level[:-1]} m" if level[:-1].replace(".", "", 1).isdigit() and level.endswith("m") else level


def format_score(row: Mapping[str, float], name: str) -> str:
    return format_number(row[name]) if name in row else ""


def format_number(value: float) -> str:
    if not isfinite(value):
        return "-" if value != value else str(value)
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3f}"
