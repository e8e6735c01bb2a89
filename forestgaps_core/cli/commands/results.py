"""Print the results of a command: JSON for programs, or notes and the files that were written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer


def print_json(**summary: Any) -> None:
    typer.echo(json.dumps(summary, indent=1))


def print_notes(notes: Iterable[str]) -> None:
    """Print notes to the standard error."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def print_written(paths: Iterable[Path | str]) -> None:
    for path in paths:
        typer.echo(f"wrote {path}")
