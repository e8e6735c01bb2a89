"""`forestgaps export`. Heavy modules are imported when the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.plugins.command_lines import format_command


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, checkpoint, model folder or name of an installed model.")],
    to: Annotated[Literal["onnx", "pt2"], typer.Option(help="onnx: for any machine; pt2: compiled for machines like this one.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder to write.")] = Path("exported"),
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint of a run: best, last, ...; by default best.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")] = False,
) -> None:
    """Write a trained network as a folder that another engine runs.

    The exported network maps tiles at any thresholds. Rows and columns may be any multiple of a number that is printed. Before
    the folder is written, the results are compared with those of torch at sizes and thresholds that were not used for tracing.
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
    typer.echo(f"rows and columns of tiles must be multiples of {done.program.multiple}")
    typer.echo(f"wrote {out / done.program.file} ({done.program.bytes / 1e6:.1f} MB) and its metadata in the same folder")
    print_next(format_command("predict", "DSM.tif", "--network", out, "--engine", done.program.engine, "--out", "maps"))
