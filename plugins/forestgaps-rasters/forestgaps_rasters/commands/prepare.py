"""`forestgaps prepare`. What it works with is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import ComponentSettings, Json
from forestgaps_core.cli.commands.raster_options import BandNumber, Crs, Feet, Nodata, PixelSize, Resample, Scale, SkipChecks
from forestgaps_core.cli.commands.results import print_json, print_notes, print_written
from forestgaps_core.output.counts import format_count, format_hectares
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_rasters.commands.reader_options import ReaderName, make_readers


def prepare(
    sites: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SITE]...", help="Folders with dsm.tif and dtm.tif or chm.tif, or a site list (sites.toml)."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("prepared"),
    dsm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="A DSM; may be repeated.")] = None,
    dtm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="The DTM of each --dsm.")] = None,
    chm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="Or the CHM of each --dsm.")] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=TIF]",
            help="A further input layer, such as rgb=ortho.tif, in the CRS of the DSM; NAME alone is the file of that name in each "
            "site folder. May be repeated. A site list has its own.",
        ),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="METERS", min=0.01, help="Pixel size; left out: that of the rasters."),
    ] = None,
    tile: Annotated[int, typer.Option(metavar="PIXELS", min=16, max=4096, help="Side of the tiles to train on.")] = 256,
    buffer: Annotated[
        float,
        typer.Option(
            metavar="METERS", min=0, help="Distance kept between training, validation and test, within and between sites."
        ),
    ] = 20.0,
    validation: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Block of each site for validation; '' for none, all for the whole site. A site list has its own."
        ),
    ] = "south 0.2",
    test: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Block of each site for the test; '' for none, all for the whole site. A site list has its own."
        ),
    ] = "north 0.2",
    reader: ReaderName = None,
    settings: ComponentSettings = None,
    resample: Resample = False,
    crs: Crs = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    band: BandNumber = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    check: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Only tell whether this prepared folder still holds what was written.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check rasters and write a folder to train from.

    A site is a DSM with a DTM or a CHM. From fine to coarse pixels a DSM takes the highest value, a DTM the mean, and heights are
    their difference. Each site is cut into blocks for training, validation and test, by rules such as "south 0.2" or
    "north-east 0.25" (a share of its area), with a buffer distance between them.
    """
    from forestgaps_core.output.progress import show_progress
    from forestgaps_geo.grids.crs import parse_crs
    from forestgaps_rasters.commands.arguments import PRETRAINED
    from forestgaps_rasters.preparation.site_plan import PrepareOptions
    from forestgaps_rasters.preparation.site_writing import prepare_sites
    from forestgaps_rasters.preparation.sites import collect_sites
    from forestgaps_rasters.prepared.layers import parse_layers

    if check is not None:
        print_folder_check(check, as_json=as_json)
        return
    common: dict[str, Any] = {**parse_block_rules(validation, test), "pixel_size_m": pixel_size, "nodata": nodata}
    common |= {"band": band, "feet": feet, "scale": scale}
    chosen = collect_sites(sites or (), dsm or (), dtm or (), chm or (), parse_layers(layer or []), **common)
    prepare_options = PrepareOptions(
        resolution_m=resolution,
        crs=parse_crs(crs) if crs else None,
        resample=resample,
        tile=tile,
        buffer_m=buffer,
        skip_checks=skip_checks,
    )
    readers = make_readers(reader or (), settings or (), plugins())
    with show_progress(shown=not as_json) as report:
        done = prepare_sites(chosen, out, prepare_options, report, readers=readers)
    index = done.index
    shares = {part: index.area(part) for part in ("train", "validation", "test")}
    files = [str(path) for path in sorted(out.rglob("*")) if path.is_file()]
    if as_json:
        print_json(
            folder=str(out),
            sites=[site.name for site in index.sites],
            resolution_m=index.resolution_m,
            pixels=shares,
            files=files,
            notes=list(done.notes),
        )
        return
    print_notes(done.notes)
    hectares = {part: format_hectares(area * index.resolution_m**2) for part, area in shares.items()}
    typer.echo(
        f"{format_count(len(index.sites), 'site')} at {index.resolution_m:g} m: "
        + ", ".join(f"{part} {area}" for part, area in hectares.items())
    )
    print_written(files)
    if shares["train"] and shares["validation"]:
        run_file = format_command("train", "run.toml", "--set", f"data.folder={out}")
        print_next(format_command("config", "init", "run.toml", "--recipe", "best"), run_file)
    else:
        part = max(shares, key=lambda name: shares[name])
        split = [] if part == "test" else ["--split", part]
        print_next(format_command("evaluate", PRETRAINED, "--data", out, *split))


def parse_block_rules(validation: str, test: str) -> dict[str, str | None]:
    """Which part of a site is what; "all" stands for the whole site."""
    if "all" in (validation.strip(), test.strip()):
        return {"part": "test" if test.strip() == "all" else "validation", "validation": None, "test": None}
    return {"validation": validation or None, "test": test or None}


def print_folder_check(folder: Path, *, as_json: bool) -> None:
    from forestgaps_core.output.progress import show_progress
    from forestgaps_rasters.prepared.verification import verify_folder

    with show_progress(shown=not as_json) as report:
        found = verify_folder(folder, report)
    if as_json:
        print_json(folder=str(folder), sites=[site.name for site in found.index.sites], layers=found.layers, unknown=found.unknown)
    elif found.unknown:
        typer.echo(
            f"{folder}: fits its index; {format_count(found.unknown, 'layer')} cannot be compared, because no checksum was written"
        )
    else:
        layers, sites = format_count(found.layers, "layer"), format_count(len(found.index.sites), "site")
        typer.echo(f"{folder}: {layers} of {sites} checked; no value has changed")
