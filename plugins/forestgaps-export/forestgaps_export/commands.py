"""`forestgaps export`. What it works with is imported when it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.plugins.command_lines import format_command


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder, checkpoint, model folder, or an installed network's name.")
    ],
    to: Annotated[Literal["onnx", "pt2"], typer.Option(help="onnx: data, for any machine; pt2: compiled, for machines like this.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("exported"),
    checkpoint: Annotated[str | None, typer.Option(help="Which checkpoint of a run; by default the best.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")] = False,
) -> None:
    """Write a trained network as a folder that another engine runs.

    It maps tiles of any size (rows and columns are multiples of a number that is printed) at any thresholds. Its results are
    compared with those of torch before the folder is written, at sizes and thresholds it was not traced with.
    """
    from forestgaps_export.comparison import describe_difference
    from forestgaps_export.folders import export_network

    done = export_network(run, out, to, checkpoint=checkpoint)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "folder": str(out),
                    "file": str(out / done.program.file),
                    "engine": done.program.engine,
                    "bytes": done.program.bytes,
                    "multiple": done.program.multiple,
                    "largest_difference": done.difference.largest,
                    "difference_beyond_rounding": done.difference.beyond,
                },
                indent=1,
            )
        )
        return
    typer.echo(f"probabilities differ from those of torch by {describe_difference(done.difference)}")
    typer.echo(f"tiles may have any rows and columns that are multiples of {done.program.multiple}")
    typer.echo(f"wrote {out / done.program.file} ({done.program.bytes / 1e6:.1f} MB), and beside it what belongs to it")
    print_next(format_command("predict", "DSM.tif", "--network", out, "--engine", done.program.engine, "--out", "maps"))
