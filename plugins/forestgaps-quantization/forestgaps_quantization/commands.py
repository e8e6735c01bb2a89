"""`forestgaps quantize`. What it works with is imported when it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.raster_options import BandNumber, Feet, Nodata, Scale, SkipChecks, list_given_options
from forestgaps_core.plugins.command_lines import format_command


def quantize(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder, checkpoint, model folder, or an installed network's name.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path(
        "quantized"
    ),
    calibrate_with: Annotated[
        Path | None,
        typer.Option(metavar="DSM.tif", help="Surface to see ranges of values on; by default the run's validation tiles."),
    ] = None,
    band: BandNumber = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    tiles: Annotated[int, typer.Option(min=1, max=4096, help="Tiles to look at: half to calibrate, half to compare.")] = 32,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Leave this layer in float, and all in it; may be repeated.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Which checkpoint of a run; by default the best.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")] = False,
) -> None:
    """Write a trained network as a folder whose convolutions compute with 8-bit integers.

    Weights get a scale for each channel, inputs one that is observed on the surface given, or that training with the callback
    quantization_aware has learned. The loss of accuracy is measured on other tiles than those that set the ranges, and printed.
    """
    from forestgaps_core.errors import ConfigError
    from forestgaps_quantization.folders import describe_result, quantize_network

    reading = {"band": band, "nodata": nodata, "feet": feet, "scale": scale}
    given = list_given_options(reading, skip_checks=skip_checks)
    if given and calibrate_with is None:
        raise ConfigError(f"{given[0]} tells how to read the raster of --calibrate-with, and none is given", "quantize")
    done = quantize_network(
        run,
        out,
        calibrate_with=calibrate_with,
        reading=reading,
        skip_checks=skip_checks,
        tiles=tiles,
        keep=keep or (),
        checkpoint=checkpoint,
    )
    if as_json:
        summary = {
            "folder": str(out),
            "file": str(out / done.program.file),
            "engine": done.program.engine,
            "bytes": done.program.bytes,
            "convolutions": done.convolutions,
            "of": done.of,
            "ranges": done.ranges,
            "tiles": done.tiles,
            "mean_difference": done.loss.mean,
            "largest_difference": done.loss.largest,
            "moved": done.loss.moved,
            "iou": done.loss.iou,
            "notes": list(done.notes),
        }
        typer.echo(json.dumps(summary, indent=1))
        return
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    for sentence in describe_result(done):
        typer.echo(sentence)
    typer.echo(f"wrote {out / done.program.file} ({done.program.bytes / 1e6:.1f} MB), and beside it what belongs to it")
    print_next(format_command("predict", "DSM.tif", "--network", out, "--out", "maps"))
