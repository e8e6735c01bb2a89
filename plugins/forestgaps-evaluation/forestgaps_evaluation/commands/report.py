"""`forestgaps report`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.installed import list_installed, plugins
from forestgaps_core.cli.commands.options import Json
from forestgaps_core.cli.commands.raster_options import BandNumber, Feet, Nodata, Scale, SkipChecks, list_given_options
from forestgaps_core.cli.commands.results import print_json, print_notes, print_written
from forestgaps_core.cli.commands.thresholds import thresholds_option

PAGE_NAME = "report.html"
RASTER_SUFFIXES = (".tif", ".tiff", ".vrt")


def report(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MAPS",
            help="Run folder, checkpoint, model folder or installed model; or a folder that `forestgaps predict` wrote.",
        ),
    ],
    split: Annotated[str, typer.Option(help="For a run: split to evaluate (train, validation or test).")] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PAGE.html", help="Page to write; by default report.html in the run or maps."),
    ] = None,
    dsm: Annotated[
        list[Path] | None,
        typer.Option(metavar="DSM.tif", help="For maps: the surface model that was mapped. Repeat for several files."),
    ] = None,
    band: BandNumber = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    notes: Annotated[
        str, typer.Option(metavar="TEXT|FILE", help="License and credit of the data, or a text file that contains them.")
    ] = "",
    threshold: Annotated[
        list[float] | None,
        thresholds_option("For a run, such as -t 2,5,10. By default those of 2, 3, 5, 10, ... 30 m within the range of training."),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="For a run: checkpoint (best, last, ...); by default best.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|RUN.toml",
            help="For a run: data to evaluate on instead of its own (a prepared folder, a run folder or a run file).",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.KEY=VALUE",
            help="For a run: change of a data setting, such as data.folder=elsewhere. Or a setting of a section. "
            f"Installed sections: {list_installed('report_section')}.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    shown_as: Annotated[
        Path | None,
        typer.Option(hidden=True, help="For maps: path of the folder to print on the page, while the folder is a draft."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report on a trained network or on a gap map.

    The report is a single file of HTML that opens offline and can be printed. For a run, it contains example maps, scores with
    intervals, curves and gap sizes; a STAC item of the network is written next to it. For maps, it contains the maps, gap
    fractions and gap sizes.
    """
    from forestgaps_core.errors import ConfigError
    from forestgaps_evaluation.map_report.page import write_map_report
    from forestgaps_evaluation.map_report.rasters import check_surfaces, is_map_folder
    from forestgaps_evaluation.pages.sections import split_section_settings

    reading = {"band": band, "nodata": nodata, "feet": feet, "scale": scale}
    given = list_given_options(reading, skip_checks=skip_checks)
    of_sections, others = split_section_settings(changes or (), plugins())
    text, path = read_notes(notes), Path(what)
    if path.is_file() and path.suffix.lower() in RASTER_SUFFIXES:
        from forestgaps_core.errors import DataError

        raise DataError(f"{path}: is a raster, not a run, a model or a folder of maps. Map it first with `forestgaps predict`")
    if is_map_folder(path):
        # `predict` has checked the surface before it calls this
        warnings = check_surfaces(dsm or [], reading, skip_checks=skip_checks) if shown_as is None else ()
        if others:
            raise ConfigError(f"--set {others[0]}: is not a setting of an installed section. A map has no data table", "report")
        page = write_map_report(
            *(path, dsm or [], out or path / PAGE_NAME),
            notes=text,
            reading=reading,
            shown_as=shown_as,
            plugins=plugins(),
            settings=of_sections,
        )
        print_files([page], as_json, warnings)
        return
    from forestgaps_evaluation.commands.progress import show_batch_progress
    from forestgaps_evaluation.run_report.page import write_run_report

    if dsm:
        raise ConfigError(
            f"--dsm is only for a folder of maps, and {what} does not contain gaps.tif and probabilities.tif. Remove --dsm",
            "report",
        )
    if given:
        raise ConfigError(
            f"{given[0]} is only for the --dsm of a folder of maps, and {what} does not contain gaps.tif and probabilities.tif. "
            f"Remove {given[0]}",
            "report",
        )
    with show_batch_progress(what, shown=not as_json) as progress:
        written = write_run_report(
            what,
            out or choose_folder(path) / PAGE_NAME,
            split=split,
            thresholds=threshold or (),
            checkpoint=checkpoint,
            data=data,
            changes=others,
            device=device,
            notes=text,
            plugins=plugins(),
            settings=of_sections,
            progress=progress,
        )
    print_files([written.page, written.card], as_json)


def choose_folder(path: Path) -> Path:
    """Return the folder of the page: the run folder, otherwise the current folder, so that no model folder is changed."""
    from forestgaps_core.inference.model_folder import is_model_folder

    return path if path.is_dir() and not is_model_folder(path) else Path.cwd()


def read_notes(notes: str) -> str:
    """Return the text, or the content of the file of that name.

    Raises:
        ConfigError: The file cannot be read as text.
    """
    from forestgaps_core.errors import ConfigError
    from forestgaps_core.files.safe_opening import read_text

    path = Path(notes) if notes and len(notes) < 256 and "\n" not in notes else None
    if path is None or not path.is_file():
        return notes
    try:
        return read_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--notes {path}: cannot be read as UTF-8 text ({error})", "report") from error


def print_files(files: list[Path], as_json: bool, notes: tuple[str, ...] | None = None) -> None:
    if as_json:
        print_json(files=[str(path) for path in files], **({} if notes is None else {"notes": list(notes)}))
        return
    print_notes(notes or ())
    print_written(files)
