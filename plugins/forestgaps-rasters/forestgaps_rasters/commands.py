"""`forestgaps prepare` and `forestgaps predict`. What they work with is imported when they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of text.")]
Resample = Annotated[bool, typer.Option("--resample", help="Make new pixels where grids or pixel sizes differ.")]
Crs = Annotated[str | None, typer.Option("--crs", metavar="EPSG:N", help="CRS to bring rasters to, with --resample.")]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size", metavar="METRES", help="Pixel size of rasters without CRS, whose grid is then taken to be in metres."
    ),
]
Nodata = Annotated[float | None, typer.Option(help="Value that means no data, where the files do not say so.")]


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
        typer.Option(metavar="METRES", min=0.01, help="Pixel size; left out: that of the rasters."),
    ] = None,
    tile: Annotated[int, typer.Option(metavar="PIXELS", min=16, help="Side of the tiles to train on.")] = 256,
    guard: Annotated[
        float, typer.Option(metavar="METRES", min=0, help="Distance kept between training, validation and test blocks of a site.")
    ] = 20.0,
    validation: Annotated[
        str, typer.Option(metavar="RULE", help="Block of each site for validation; '' for none. A site list says its own.")
    ] = "south 0.2",
    test: Annotated[
        str, typer.Option(metavar="RULE", help="Block of each site for the test; '' for none. A site list says its own.")
    ] = "north 0.2",
    resample: Resample = False,
    crs: Crs = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    as_json: Json = False,
) -> None:
    """Check rasters and write a folder to train from.

    A site is a DSM with a DTM or a CHM. From fine to coarse pixels a DSM takes the highest value, a DTM the mean, and heights are
    their difference. Each site is cut into blocks for training, validation and test, by rules such as "south 0.2" or
    "north-east 0.25" (a share of its area), with a guard distance between them.
    """
    from forestgaps_rasters.grids import parsed_crs
    from forestgaps_rasters.planning import Wish
    from forestgaps_rasters.preparing import prepare_sites
    from forestgaps_rasters.progress import bar
    from forestgaps_rasters.sites import sites_of

    common = {"validation": validation or None, "test": test or None, "pixel_size_m": pixel_size, "nodata": nodata}
    chosen = sites_of(sites or (), dsm or (), dtm or (), chm or (), **common)
    wish = Wish(resolution_m=resolution, crs=parsed_crs(crs) if crs else None, resample=resample, tile=tile, guard_m=guard)
    with bar(shown=not as_json) as report:
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
    hectares = {part: area * index.resolution_m**2 / 1e4 for part, area in shares.items()}
    typer.echo(
        f"{len(index.sites)} sites at {index.resolution_m:g} m: " + ", ".join(f"{p} {ha:.1f} ha" for p, ha in hectares.items())
    )
    for path in sorted(out.rglob("*")):
        if path.is_file():
            typer.echo(f"wrote {path}")
    typer.echo("next: forestgaps config init --recipe rasters, name this folder in it, and forestgaps train")


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run.")],
    dsm: Annotated[Path, typer.Argument(metavar="DSM.tif", help="Surface model, metres.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("gaps"),
    threshold: Annotated[
        list[float] | None,
        typer.Option("--threshold", "-t", metavar="METRES", help="Height below which canopy is gap; repeat for several."),
    ] = None,
    window: Annotated[int, typer.Option(metavar="PIXELS", help="Side of the windows given to the network.")] = 512,
    overlap: Annotated[int, typer.Option(metavar="PIXELS", help="Pixels that neighbouring windows share.")] = 128,
    batch: Annotated[int, typer.Option(metavar="N", help="Windows given to the network at once.")] = 4,
    cut: Annotated[float, typer.Option(metavar="SHARE", help="Probability from which a pixel is a gap.")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resample: Resample = False,
    crs: Crs = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    as_json: Json = False,
) -> None:
    """Map gaps on a DSM of any size, all thresholds in one pass.

    Writes probabilities.tif and gaps.tif, Cloud-Optimized GeoTIFFs with a band per threshold, 255 where the DSM has no data.
    Probabilities are bytes with a scale of 0.004, which GIS programs apply by themselves.
    """
    from forestgaps_core import load_predictor
    from forestgaps_rasters.grids import parsed_crs
    from forestgaps_rasters.predicting import MapOptions, predict_raster
    from forestgaps_rasters.progress import bar

    how = MapOptions(
        window=window,
        overlap=overlap,
        batch=batch,
        cut=cut,
        resample=resample,
        crs=parsed_crs(crs) if crs else None,
        pixel_size_m=pixel_size,
        nodata=nodata,
    )
    predictor = load_predictor(run, device=device)
    with bar(shown=not as_json) as report:
        done = predict_raster(predictor, dsm, out, threshold or (), how, report)
    files = [str(done.probabilities), str(done.gaps)]
    if as_json:
        say(
            files=files,
            rows=done.rows,
            columns=done.columns,
            resolution_m=done.resolution_m,
            gap_share={f"{level:g}": share for level, share in done.gap_share.items()},
            notes=list(done.notes),
        )
        return
    warn(done.notes)
    for level, share in done.gap_share.items():
        typer.echo(f"gaps below {level:g} m: {share:.1%} of the surveyed area")
    for path in files:
        typer.echo(f"wrote {path}")


def say(**summary: Any) -> None:
    typer.echo(json.dumps(summary, indent=1))


def warn(notes: tuple[str, ...]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)
