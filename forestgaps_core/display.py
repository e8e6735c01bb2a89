"""What commands show when they are done: scores in a table, the files that were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from forestgaps_core.errors import printable

MANY = 6  # files of a folder that are named one by one


def written(folder: Path) -> Iterator[str]:
    """The files of a run folder; of an inner folder with many, only how many."""
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        lines = map(str, files) if len(files) <= MANY else [f"{path}: {len(files)} files"]
        yield from map(printable, lines)


def show_scores(scores: Mapping[str, float]) -> None:
    """A table for each metric: a row for each score, columns for all thresholds together and for each (`name@5m`).

    Undefined values are shown as -.
    """
    metrics: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in scores.items():
        metric, _, score = name.partition("/")[2].rpartition("/")
        score, _, level = score.partition("@")
        metrics.setdefault(metric, {}).setdefault(score, {})[level or "all"] = value
    for metric, rows in metrics.items():
        levels = list(dict.fromkeys(level for row in rows.values() for level in row))
        table = Table(Column(plain(metric or "score"), no_wrap=True), *(Column(plain(level)) for level in levels))
        for score, row in rows.items():
            table.add_row(plain(score), *(number(row[level]) if level in row else "" for level in levels))
        Console().print(table)


def plain(name: str) -> Text:
    """A name as it is: rich would take its [brackets] for markup."""
    return Text(printable(name))


def number(value: float) -> str:
    if not isfinite(value):
        return "-" if value != value else str(value)
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3f}"
