"""Options and output that `prepare` and `predict` share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")]
Resample = Annotated[bool, typer.Option("--resample", help="Make new pixels where grids or pixel sizes differ.")]
Crs = Annotated[str | None, typer.Option("--crs", metavar="EPSG:N", help="CRS to bring rasters to, with --resample.")]


def print_json(**summary: Any) -> None:
    typer.echo(json.dumps(summary, indent=1))


def print_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)
