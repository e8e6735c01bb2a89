"""`forestgaps report`. Heavy modules are imported when the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.raster_options import BandNumber, Feet, Nodata, Scale, SkipChecks, list_given_options
from forestgaps_core.cli.commands.thresholds import thresholds_option

PAGE_NAME = "report.html"
RASTER_SUFFIXES = (".tif", ".tiff", ".vrt")


def report(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MAPS",
            help="Run folder, checkpoint, model folder or installed network; or a folder made by `forestgaps predict`.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Split to evaluate a run on: train, validation or test.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PAGE.html", help="Page to write; by default report.html in the folder it is about."),
    ] = None,
    dsm: Annotated[
        list[Path] | None,
        typer.Option(metavar="DSM.tif", help="For maps: the surface model that was mapped; repeat for several files."),
    ] = None,
    band: BandNumber = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    notes: Annotated[
        str, typer.Option(metavar="TEXT|FILE", help="License and credit of the data, or a text file that holds them.")
    ] = "",
    threshold: Annotated[
        list[float] | None,
        thresholds_option("For a run: by default 2, 3, 5, 10 ... m, up to the highest of its training; for others: -t 2,5,10."),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="For a run: best, last, ...; by default best, if there is one.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|RUN.toml",
            help="For a run: evaluate on these data instead of its own: a prepared folder, a run folder or a run file.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.KEY=VALUE", help="For a run: evaluate on other data, such as data.folder=elsewhere."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    shown_as: Annotated[
        Path | None,
        typer.Option(hidden=True, help="For maps: path of their folder on the page, before it has its name."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Write a page about a trained network, or about a gap map.

    One file of HTML that opens anywhere, without a network, and prints well. About a run it shows maps, scores with intervals,
    curves, gap sizes and examples, and a STAC item of the network is written beside it. About a folder of maps it shows them.
    """
    from forestgaps_evaluation.map_report.page import write_map_report
    from forestgaps_evaluation.map_report.rasters import check_surfaces, is_map_folder

    reading = {"band": band, "nodata": nodata, "feet": feet, "scale": scale}
    given = list_given_options(reading, skip_checks=skip_checks)
    words, place = read_notes(notes), Path(what)
    if place.is_file() and place.suffix.lower() in RASTER_SUFFIXES:
        from forestgaps_core.errors import DataError

        raise DataError(
            f"{place} is a raster; a report is about a run, a network or a folder of maps. Map it first: forestgaps predict"
        )
    if is_map_folder(place):
        # `predict` has checked the surface before it calls this
        found = check_surfaces(dsm or [], reading, skip_checks=skip_checks) if shown_as is None else ()
        page = write_map_report(place, dsm or [], out or place / PAGE_NAME, notes=words, reading=reading, shown_as=shown_as)
        print_files([page], as_json, found)
        return
    from forestgaps_core.cli.app import plugins
    from forestgaps_core.errors import ConfigError
    from forestgaps_evaluation.commands.progress import show_batch_progress
    from forestgaps_evaluation.run_report.page import write_run_report

    if dsm:
        raise ConfigError(
            f"--dsm goes with a folder of maps, and {what} is none: it lacks gaps.tif and probabilities.tif", "report"
        )
    if given:
        raise ConfigError(f"{given[0]} tells how to read the --dsm of a folder of maps, and {what} is none", "report")
    with show_batch_progress(what, shown=not as_json) as progress:
        done = write_run_report(
            what,
            out or choose_folder(place) / PAGE_NAME,
            split=split,
            thresholds=threshold or (),
            checkpoint=checkpoint,
            data=data,
            changes=changes or (),
            device=device,
            notes=words,
            plugins=plugins(),
            progress=progress,
        )
    print_files([done.page, done.card], as_json)


def choose_folder(place: Path) -> Path:
    """Where a page goes: into a run folder; beside a network it would become part of the published folder."""
    from forestgaps_core.inference.model_folder import is_model_folder

    return place if place.is_dir() and not is_model_folder(place) else Path.cwd()


def read_notes(notes: str) -> str:
    """The text itself, or what the file of that name holds.

    Raises:
        ConfigError: The file is no text.
    """
    from forestgaps_core.errors import ConfigError
    from forestgaps_core.files.safe_opening import read_text

    path = Path(notes) if notes and len(notes) < 256 and "\n" not in notes else None
    if path is None or not path.is_file():
        return notes
    try:
        return read_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--notes {path}: cannot be read as text ({error})", "report") from error


def print_files(files: list[Path], as_json: bool, notes: tuple[str, ...] | None = None) -> None:
    if as_json:
        of_checks = {} if notes is None else {"notes": list(notes)}
        typer.echo(json.dumps({"files": [str(path) for path in files], **of_checks}, indent=1))
        return
    for note in notes or ():
        typer.echo(f"note: {note}", err=True)
    for path in files:
        typer.echo(f"wrote {path}")
