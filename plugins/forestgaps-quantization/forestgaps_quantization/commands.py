"""`forestgaps quantize`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import Json
from forestgaps_core.cli.commands.raster_options import BandNumber, Feet, Nodata, Scale, SkipChecks, list_given_options
from forestgaps_core.cli.commands.results import print_json, print_notes
from forestgaps_core.plugins.command_lines import format_command


def quantize(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, checkpoint, model folder or name of an installed model.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder to write.")] = Path("quantized"),
    calibrate_with: Annotated[
        Path | None,
        typer.Option(metavar="DSM.tif", help="Surface model for calibration; by default the validation tiles of the run."),
    ] = None,
    band: BandNumber = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    tiles: Annotated[int, typer.Option(min=1, max=4096, help="Number of tiles: half for calibration, half for comparison.")] = 32,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER", help="Layer that remains in float32, including its parts. Repeat for several."),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint of a run: best, last, ...; by default best.")] = None,
    as_json: Json = False,
) -> None:
    """Write a trained network as a folder whose convolutions compute with 8-bit integers.

    Weights have one scale per channel. The scale of an input is observed on surface models, or learned in training by the
    callback quantization_aware. The loss of accuracy is measured on tiles that were not used for calibration, and printed.
    """
    from forestgaps_core.errors import ConfigError
    from forestgaps_quantization.folders import describe_result, quantize_network

    reading = {"band": band, "nodata": nodata, "feet": feet, "scale": scale}
    given = list_given_options(reading, skip_checks=skip_checks)
    if given and calibrate_with is None:
        raise ConfigError(f"{given[0]} needs a raster. Add --calibrate-with DSM.tif", "quantize")
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
        print_json(
            folder=str(out),
            file=str(out / done.program.file),
            engine=done.program.engine,
            bytes=done.program.bytes,
            convolutions=done.convolutions,
            of=done.of,
            ranges=done.ranges,
            tiles=done.tiles,
            mean_difference=done.loss.mean,
            largest_difference=done.loss.largest,
            moved=done.loss.moved,
            iou=done.loss.iou,
            notes=list(done.notes),
        )
        return
    print_notes(done.notes)
    for sentence in describe_result(done):
        typer.echo(sentence)
    typer.echo(f"wrote {out / done.program.file} ({done.program.bytes / 1e6:.1f} MB) and its metadata in the same folder")
    print_next(format_command("predict", "DSM.tif", "--network", out, "--out", "maps"))
