"""`forestgaps predict`. What it works with is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.installed import list_installed, plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import ComponentSettings, Json
from forestgaps_core.cli.commands.raster_options import (
    BandNumber,
    Crs,
    Feet,
    Nodata,
    PixelSize,
    Resample,
    Scale,
    SkipChecks,
    list_given_options,
)
from forestgaps_core.cli.commands.results import print_json, print_notes, print_written
from forestgaps_core.cli.commands.thresholds import Thresholds
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_rasters.commands.reader_options import ReaderName, make_readers, split_settings

EXIT_INTERRUPTED = 130  # as shells report a program ended by SIGINT


def predict(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] DSM...",
            help="Trained network: a run folder, a model folder, a checkpoint (.safetensors) or the name of an "
            "installed one. Then surface models in meters: a GeoTIFF or VRT, several, a folder of them, or a list (.txt). "
            "Without RUN: that of --network.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("gaps"),
    network: Annotated[
        str | None, typer.Option(metavar="NAME|RUN", help="Network to map with, by default 'pretrained', where no RUN is given.")
    ] = None,
    threshold: Thresholds = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TIF",
            help="A further input layer that the network was trained with, such as rgb=ortho.tif. May be repeated.",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Side of the windows given to the network; by default what it needs, at least 768."),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Pixels that neighboring windows share; by default what it needs, at least 128."),
    ] = None,
    decision_threshold: Annotated[
        float, typer.Option(metavar="PROBABILITY", help="Probability from which a pixel is a gap.")
    ] = 0.5,
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
    postprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Step that changes the map; repeat for several, in order. Installed: {list_installed('postprocessor')}.",
        ),
    ] = None,
    reader: ReaderName = None,
    settings: ComponentSettings = None,
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
    from forestgaps_core.config.command_components import choose_components
    from forestgaps_core.output.progress import show_progress
    from forestgaps_geo.grids.crs import parse_crs
    from forestgaps_rasters.commands.arguments import find_report_command, split_arguments
    from forestgaps_rasters.prediction.map_options import MapOptions
    from forestgaps_rasters.prediction.predict_raster import predict_raster
    from forestgaps_rasters.prediction.qgis_styles import STYLE_FILES
    from forestgaps_rasters.prepared.layers import parse_layer_files
    from forestgaps_rasters.work.executors import choose_executor
    from forestgaps_rasters.work.work_folder import check_output_is_free, get_partial_folder

    chosen, dsm = split_arguments(places, network, plugins())
    executor = choose_executor(workers, cluster)
    write_report = find_report_command() if report else None
    for_readers, for_steps = split_settings(settings or (), plugins())
    map_options = MapOptions(
        window=window,
        overlap=overlap,
        decision_threshold=decision_threshold,
        resample=resample,
        resolution_m=resolution,
        crs=parse_crs(crs) if crs else None,
        pixel_size_m=pixel_size,
        nodata=nodata,
        band=band,
        feet=feet,
        scale=scale,
        layers=parse_layer_files(layer or []),
        skip_checks=skip_checks,
        postprocess=tuple(choose_components("postprocessor", postprocess or (), for_steps, plugins(), command="predict")),
        readers=make_readers(reader or (), for_readers, plugins()),
    )
    reading = list_given_options({"band": band, "nodata": nodata, "feet": feet, "scale": scale})
    reports: list[str] = []

    def finish(maps: Path, rasters: Sequence[Path]) -> None:
        if write_report is not None:
            reports.extend(write_report(maps, rasters, out, reading))

    check_output_is_free(out)
    predictor = load_predictor(chosen, device=device, precision=precision, engine=engine, fold=True)
    try:
        with show_progress(shown=not as_json) as progress:
            done = predict_raster(
                predictor, dsm, out, threshold or (), map_options, progress, executor=executor, restart=restart, finish=finish
            )
    except KeyboardInterrupt:
        if get_partial_folder(out).is_dir():
            typer.echo(
                f"interrupted; what is finished is kept in {get_partial_folder(out)}, and the same command resumes from there",
                err=True,
            )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    files = [
        str(done.probabilities),
        str(done.gaps),
        *(str(out / name) for name in STYLE_FILES),
        *reports,
    ]
    if as_json:
        print_json(
            files=files,
            rows=done.rows,
            columns=done.columns,
            resolution_m=done.resolution_m,
            gap_fraction={f"{level:g}": share for level, share in done.gap_fraction.items()},
            blocks=done.blocks,
            resumed=done.resumed,
            notes=list(done.notes),
            postprocessing=[one.describe() for one in map_options.postprocess],
        )
        return
    print_notes(done.notes)
    if done.resumed:
        typer.echo(f"resumed: {done.resumed} of {format_count(done.blocks, 'block')} were finished before")
    for level, share in done.gap_fraction.items():
        typer.echo(f"gaps below {level:g} m: {share:.1%} of the surveyed area")
    print_written(files)
    surfaces = [
        word for path in dsm if path.is_file() and path.suffix.lower() in (".tif", ".tiff", ".vrt") for word in ("--dsm", str(path))
    ]
    steps = [format_command("gaps", done.gaps, "--out", out / "gaps.gpkg")]
    steps += [] if report else [format_command("report", out, *surfaces, *reading)]
    print_next(*steps, f"open {out / 'gaps.qlr'} in QGIS")
