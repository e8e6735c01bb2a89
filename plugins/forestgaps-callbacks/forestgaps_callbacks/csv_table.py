"""A CSV file that grows to the right and downwards only."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_callbacks.rows import Lines, select_readable
from forestgaps_core.output.spreadsheet import neutralize_formula

Row = Mapping[str, Any]


@define(eq=False)
class CsvTable:
    """Rows of named values under one header.

    Attributes:
        path: The file.
        columns: The header; a value under a new name adds a column at the right end.
        place: The columns that no two rows share.
    """

    path: Path
    columns: list[str]
    place: tuple[str, ...] = ("step", "epoch")
    lines: Lines = field(init=False)
    restored: list[str] = field(factory=list, init=False)  # header and rows that waited to be written when the checkpoint was

    def __attrs_post_init__(self) -> None:
        self.lines = Lines(self.path)

    def reopen(self, keep: Callable[[Row], bool]) -> None:
        """Continue the file, if there is one, without the rows that `keep` refuses."""
        rows: list[Row] = []
        for lines in (self.lines.read(), self.restored):
            known = {tuple(row[name] for name in self.place) for row in rows}
            more = select_readable(parse_rows(lines), lambda row: is_complete(row) and keep(row), self.path)
            rows += [row for row in more if tuple(row[name] for name in self.place) not in known]
        for row in rows:  # where there is none, nothing says that the columns of the file will come again
            self.columns += [name for name in row if name not in self.columns]
        self.lines.replace([self.header(), *map(self.line, rows)])

    def add(self, row: Row) -> None:
        row = {str(neutralize_formula(name)): neutralize_formula(value) for name, value in row.items()}
        new = [name for name in row if name not in self.columns]
        if new:
            known = list(parse_rows(self.lines.read()))
            self.columns += new
            self.lines.replace([self.header(), *map(self.line, known), self.line(row)])
        else:
            self.lines.add(self.line(row))

    def close(self) -> None:
        """Write the rows that could not be written before."""
        self.lines.write()

    def header(self) -> str:
        return self.line({name: name for name in self.columns})

    def line(self, row: Row) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(row.get(name) for name in self.columns)
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        waiting = self.lines.unwritten()
        return {"waiting": waiting if self.lines.replacement is not None or not waiting else [self.header(), *waiting]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.restored = list(state.get("waiting", ()))


def parse_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Rows by the names of the header. A line that is not CSV is an incomplete row, and does not affect other lines."""
    cells = (parse_line(line) for line in lines)
    header = [str(neutralize_formula(name)) for name in next(cells, [])]
    for line in filter(None, cells):
        row: dict[Any, Any] = {**dict.fromkeys(header), **dict(zip(header, line, strict=False))}
        if len(line) > len(header):
            row[None] = line  # cells beyond the header
        yield row


def parse_line(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # a cell of more than 128 KiB, or a null character
        return [line]


def is_complete(row: Row) -> bool:
    """Raises:
    ValueError: The row has fewer cells than the header, or more.
    """
    if None in row or None in row.values():
        raise ValueError("a row in part")
    return True
