"""`forestgaps prepare` and `forestgaps predict`. What they work with is imported when they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.raster_options import BandNumber, Feet, Nodata, PixelSize, Scale, SkipChecks, given_options
from forestgaps_core.cli.commands.thresholds import Thresholds
from forestgaps_core.output.counts import format_count, format_hectares
from forestgaps_core.plugins.command_lines import command_line

INTERRUPTED = 130  # as shells report a program ended by SIGINT

Json = Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")]
Resample = Annotated[bool, typer.Option("--resample", help="Make new pixels where grids or pixel sizes differ.")]
Crs = Annotated[str | None, typer.Option("--crs", metavar="EPSG:N", help="CRS to bring rasters to, with --resample.")]


def prepare(
    sites: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SITE]...", help="Folders with dsm.tif and dtm.tif or chm.tif, or a site list (sites.toml)."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("prepared"),
    dsm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="A DSM; may be repeated.")] = None,
    dtm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="The DTM of each --dsm.")] = None,
    chm: Annotated[list[Path] | None, typer.Option(metavar="TIF", help="Or the CHM of each --dsm.")] = None,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="METERS", min=0.01, help="Pixel size; left out: that of the rasters."),
    ] = None,
    tile: Annotated[int, typer.Option(metavar="PIXELS", min=16, max=4096, help="Side of the tiles to train on.")] = 256,
    guard: Annotated[
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
    "north-east 0.25" (a share of its area), with a guard distance between them.
    """
    from forestgaps_core.output.progress import show_progress
    from forestgaps_geo.grids.crs import parse_crs
    from forestgaps_rasters.cli_arguments import PRETRAINED
    from forestgaps_rasters.planning import Wish
    from forestgaps_rasters.preparing import prepare_sites
    from forestgaps_rasters.sites import sites_of

    if check is not None:
        checked(check, as_json=as_json)
        return
    common: dict[str, Any] = {**block_rules(validation, test), "pixel_size_m": pixel_size, "nodata": nodata}
    common |= {"band": band, "feet": feet, "scale": scale}
    chosen = sites_of(sites or (), dsm or (), dtm or (), chm or (), **common)
    wish = Wish(
        resolution_m=resolution,
        crs=parse_crs(crs) if crs else None,
        resample=resample,
        tile=tile,
        guard_m=guard,
        skip_checks=skip_checks,
    )
    with show_progress(shown=not as_json) as report:
        done = prepare_sites(chosen, out, wish, report)
    index = done.index
    shares = {part: index.area(part) for part in ("train", "validation", "test")}
    if as_json:
        say(
            folder=str(out),
            sites=[site.name for site in index.sites],
            resolution_m=index.resolution_m,
            pixels=shares,
            files=[str(path) for path in sorted(out.rglob("*")) if path.is_file()],
            notes=list(done.notes),
        )
        return
    warn(done.notes)
    hectares = {part: format_hectares(area * index.resolution_m**2) for part, area in shares.items()}
    typer.echo(
        f"{format_count(len(index.sites), 'site')} at {index.resolution_m:g} m: "
        + ", ".join(f"{part} {area}" for part, area in hectares.items())
    )
    for path in sorted(out.rglob("*")):
        if path.is_file():
            typer.echo(f"wrote {path}")
    if shares["train"] and shares["validation"]:
        run_file = command_line("train", "run.toml", "--set", f"data.folder={out}")
        print_next(command_line("config", "init", "run.toml", "--recipe", "best"), run_file)
    else:
        part = max(shares, key=lambda name: shares[name])
        split = [] if part == "test" else ["--split", part]
        print_next(command_line("evaluate", PRETRAINED, "--data", out, *split))


def block_rules(validation: str, test: str) -> dict[str, str | None]:
    """Which part of a site is what; "all" stands for the whole site."""
    if "all" in (validation.strip(), test.strip()):
        return {"part": "test" if test.strip() == "all" else "validation", "validation": None, "test": None}
    return {"validation": validation or None, "test": test or None}


def predict(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] DSM...",
            help="Trained network: a run folder, a model folder, a checkpoint (.pt) or the name of an installed one. Then surface "
            "models in meters: a GeoTIFF or VRT, several, a folder of them, or a list (.txt). Without RUN: that of --network.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("gaps"),
    network: Annotated[
        str | None, typer.Option(metavar="NAME|RUN", help="Network to map with, by default 'pretrained', where no RUN is given.")
    ] = None,
    threshold: Thresholds = None,
    window: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Side of the windows given to the network; by default what it needs, at least 768."),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Pixels that neighbouring windows share; by default what it needs, at least 128."),
    ] = None,
    cut: Annotated[float, typer.Option(metavar="SHARE", help="Probability from which a pixel is a gap.")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="32, bf16 or 16; by default that of the training. bf16 halves the time of U-Nets where the processor has it (AMX, "
            "AVX512-BF16), and moves probabilities by up to 0.02."
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What runs a network that `forestgaps export` wrote, such as onnxruntime; by default what it was written for, "
            "unless that is compiled code (aoti), which must be named.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes on this machine; by default threads of this one.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Compute on the cluster there, such as tcp://host:8786 (forestgaps-dask).")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start again instead of resuming an interrupted map.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also write a report page (needs forestgaps-evaluation).")] = False,
    resample: Resample = False,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="METERS", min=0.01, help="Pixel size of the maps, with --resample; default: that of the network."),
    ] = None,
    crs: Crs = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    band: BandNumber = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    as_json: Json = False,
) -> None:
    """Map gaps on a DSM of any size, all thresholds in one pass.

    Writes probabilities.tif and gaps.tif, Cloud-Optimized GeoTIFFs with a band per threshold, 255 where the DSM has no data.
    Probabilities are bytes with a scale of 0.004, which GIS programs apply by themselves. Repeat the command after an
    interruption to resume it.
    """
    from forestgaps_core import load_predictor
    from forestgaps_core.output.progress import show_progress
    from forestgaps_geo.grids.crs import parse_crs
    from forestgaps_rasters.cli_arguments import network_and_dsm, report_command
    from forestgaps_rasters.executors import chosen_executor
    from forestgaps_rasters.predicting import MapOptions, predict_raster
    from forestgaps_rasters.resuming import check_free, partial
    from forestgaps_rasters.styles import STYLES

    chosen, dsm = network_and_dsm(places, network, plugins())
    executor = chosen_executor(workers, cluster)
    write_report = report_command() if report else None
    how = MapOptions(
        window=window,
        overlap=overlap,
        cut=cut,
        resample=resample,
        resolution_m=resolution,
        crs=parse_crs(crs) if crs else None,
        pixel_size_m=pixel_size,
        nodata=nodata,
        band=band,
        feet=feet,
        scale=scale,
        skip_checks=skip_checks,
    )
    reading = given_options({"band": band, "nodata": nodata, "feet": feet, "scale": scale})
    reports: list[str] = []

    def finish(maps: Path) -> None:
        if write_report is not None:
            reports.extend(write_report(maps, dsm, out, reading))

    check_free(out)
    predictor = load_predictor(chosen, device=device, precision=precision, engine=engine, fold=True)
    try:
        with show_progress(shown=not as_json) as progress:
            done = predict_raster(
                predictor, dsm, out, threshold or (), how, progress, executor=executor, restart=restart, finish=finish
            )
    except KeyboardInterrupt:
        if partial(out).is_dir():
            typer.echo(
                f"interrupted; what is finished is kept in {partial(out)}, and the same command resumes from there", err=True
            )
        raise typer.Exit(INTERRUPTED) from None
    files = [
        str(done.probabilities),
        str(done.gaps),
        *(str(out / name) for name in STYLES),
        *reports,
    ]
    if as_json:
        say(
            files=files,
            rows=done.rows,
            columns=done.columns,
            resolution_m=done.resolution_m,
            gap_fraction={f"{level:g}": share for level, share in done.gap_fraction.items()},
            blocks=done.blocks,
            resumed=done.resumed,
            notes=list(done.notes),
        )
        return
    warn(done.notes)
    if done.resumed:
        typer.echo(f"resumed: {done.resumed} of {format_count(done.blocks, 'block')} were finished before")
    for level, share in done.gap_fraction.items():
        typer.echo(f"gaps below {level:g} m: {share:.1%} of the surveyed area")
    for path in files:
        typer.echo(f"wrote {path}")
    surfaces = [word for path in dsm if path.is_file() and path.suffix.lower() != ".txt" for word in ("--dsm", str(path))]
    steps = [command_line("gaps", done.gaps, "--out", out / "gaps.gpkg")]
    steps += [] if report else [command_line("report", out, *surfaces, *reading)]
    print_next(*steps, f"open {out / 'gaps.qlr'} in QGIS")


def checked(folder: Path, *, as_json: bool) -> None:
    from forestgaps_core.output.progress import show_progress
    from forestgaps_rasters.checking import check_folder

    with show_progress(shown=not as_json) as report:
        found = check_folder(folder, report)
    if as_json:
        say(folder=str(folder), sites=[site.name for site in found.index.sites], layers=found.layers, unknown=found.unknown)
    elif found.unknown:
        typer.echo(
            f"{folder}: fits its index; {format_count(found.unknown, 'layer')} cannot be compared, because no checksum was written"
        )
    else:
        layers, sites = format_count(found.layers, "layer"), format_count(len(found.index.sites), "site")
        typer.echo(f"{folder}: {layers} of {sites} checked; no value has changed")


def say(**summary: Any) -> None:
    typer.echo(json.dumps(summary, indent=1))


def warn(notes: tuple[str, ...]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)
