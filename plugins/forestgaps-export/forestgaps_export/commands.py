"""`forestgaps export`. Heavy modules are imported when the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.installed import list_installed, plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import ComponentSettings, Json
from forestgaps_core.plugins.command_lines import format_command


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, checkpoint, model folder or name of an installed model.")],
    to: Annotated[str, typer.Option(metavar="NAME", help=f"Format. Installed: {list_installed('exporter')}.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder to write.")] = Path("exported"),
    settings: ComponentSettings = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint of a run: best, last, ...; by default best.")] = None,
    as_json: Json = False,
) -> None:
    """Write a trained network as a folder that another engine runs.

    The exported network maps tiles at any thresholds. Rows and columns may be any multiple of a number that is printed. For onnx
    and pt2, the results are compared with those of torch before the folder is written, at sizes and thresholds that were not
    used for tracing. Packages can add formats; `forestgaps config explain exporter.NAME` prints the settings of one.
    """
    from forestgaps_export.folders import export_network

    done = export_network(run, out, to, settings or (), checkpoint=checkpoint, plugins=plugins())
    file, size = out / done.export.file, len(done.export.data)
    if as_json:
        summary = {"folder": str(out), "file": str(file), "engine": done.export.engine, "bytes": size}
        typer.echo(json.dumps({**summary, "multiple": done.export.multiple, **done.export.figures}, indent=1))
        return
    for note in done.export.notes:
        typer.echo(note)
    typer.echo(f"rows and columns of tiles must be multiples of {done.export.multiple}")
    typer.echo(f"wrote {file} ({size / 1e6:.1f} MB) and its metadata in the same folder")
    if done.program is not None:
        print_next(format_command("predict", "DSM.tif", "--network", out, "--engine", done.program.engine, "--out", "maps"))
