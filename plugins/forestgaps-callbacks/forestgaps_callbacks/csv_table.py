"""A CSV file that grows to the right and downwards only."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define

from forestgaps_callbacks.rows import append_line, replace_text, whole_lines


@define(eq=False)
class CsvTable:
    """Rows of named values under one header.

    Attributes:
        path: The file.
        columns: The header; a value under a new name adds a column at the right end.
    """

    path: Path
    columns: list[str]

    def reopen(self, keep: Callable[[Mapping[str, str]], bool]) -> None:
        """Go on with the file, if there is one, without the rows that `keep` refuses."""
        reader = csv.DictReader(whole_lines(self.path))
        rows = [row for row in reader if keep(row)]
        if rows:  # otherwise nothing says that the columns of the file will come again
            self.columns += [name for name in reader.fieldnames or () if name not in self.columns]
        self.rewrite(rows)

    def add(self, row: Mapping[str, Any]) -> None:
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self.rewrite(csv.DictReader(whole_lines(self.path)))
        append_line(self.path, self.line(row))

    def rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        lines = [self.line({name: name for name in self.columns}), *(self.line(row) for row in rows)]
        replace_text(self.path, "".join(line + "\n" for line in lines))

    def line(self, row: Mapping[str, Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(row.get(name) for name in self.columns)
        return text.getvalue()
