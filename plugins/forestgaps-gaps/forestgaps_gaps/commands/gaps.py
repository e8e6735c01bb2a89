"""`forestgaps gaps`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import Json
from forestgaps_core.cli.commands.raster_options import Feet, Nodata, PixelSize, Scale, SkipChecks
from forestgaps_core.cli.commands.results import print_json, print_notes, print_written
from forestgaps_core.cli.commands.thresholds import Thresholds
from forestgaps_gaps.commands.options import AtMost, Connectivity, make_criteria


def gaps(
    raster: Annotated[
        Path,
        typer.Argument(metavar="MASK_OR_CHM", help="Canopy heights in meters, or a gap map (1 gap, 0 canopy) such as gaps.tif."),
    ],
    threshold: Thresholds = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Polygons to write: .gpkg, .fgb or .parquet; must not exist.")
    ] = None,
    chm: Annotated[
        Path | None, typer.Option(metavar="TIF", help="Canopy heights on the grid of a gap map, for height statistics of gaps.")
    ] = None,
    connectivity: Connectivity = 8,
    at_most: AtMost = False,
    min_area: Annotated[
        float | None,
        typer.Option(metavar="M2", min=0, help="Smallest area of a gap, m2. Default: 4 for gap maps, 0 for heights."),
    ] = None,
    max_area: Annotated[float | None, typer.Option(metavar="M2", min=0, help="Largest area of a gap, m2.")] = None,
    band: Annotated[int | None, typer.Option(metavar="N", help="Number of the band. Default: all bands of a gap map.")] = None,
    chm_band: Annotated[
        int | None, typer.Option("--chm-band", metavar="N", help="Number of the band of --chm, if it has several.")
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write statistics to a new folder, or to a new file if the name ends in .json."),
    ] = None,
    cells: Annotated[
        float | None, typer.Option(metavar="METERS", min=0.01, help="Side of grid cells for statistics, such as 100.")
    ] = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print all statistics, not only the table.")] = False,
    as_json: Json = False,
) -> None:
    """Gaps of a CHM or a gap map as polygons, with their statistics.

    A gap is a patch of connected pixels below a height threshold. Polygons follow pixels exactly, and have area, perimeter, shape
    index, heights, centroid and distance to the nearest gap. Rasters may be of any size.
    """
    from forestgaps_core.output.progress import show_progress
    from forestgaps_core.output.tables import print_table
    from forestgaps_gaps.rasters.opening import ReadingOptions
    from forestgaps_gaps.statistics.summary_text import describe_survey, format_summary
    from forestgaps_gaps.statistics.survey import Outputs, make_overview, survey_raster

    reading = ReadingOptions(
        thresholds=threshold or (),
        at_most=at_most,
        band=band,
        chm=chm,
        chm_band=chm_band,
        pixel_size_m=pixel_size,
        nodata=nodata,
        feet=feet,
        scale=scale,
        skip_checks=skip_checks,
    )
    notes: list[str] = []
    criteria = make_criteria(connectivity, min_area, max_area)
    outputs = Outputs(out=out, statistics=statistics, cell_m=cells)
    with show_progress(shown=not as_json) as report:
        summaries, files = survey_raster(raster, reading, criteria, outputs, report, notes)
    if as_json:
        print_json(files=[str(path) for path in files], gaps=summaries, notes=notes)
        return
    print_notes(notes)
    first = next(iter(summaries.values()))
    head, rows = make_overview(summaries)
    print_table(head, rows, title=describe_survey(first))
    if min_area is None and first["minimum_area_m2"] > 1.001 * first["resolution_m"] ** 2:
        least = f"{first['minimum_area_m2']:g} m2"
        print_notes([f"gaps smaller than {least} are left out as noise of the gap map. To keep them, add --min-area 0"])
    for summary in summaries.values() if verbose else ():
        for line in format_summary(summary):
            typer.echo(line)
    print_written(files)
    steps = [] if out is None else [f"open {out} in QGIS"]
    if not verbose and statistics is None:
        steps.append("add --verbose, or --statistics FOLDER, for sizes, shapes and patterns")
    print_next(*steps, *([] if out else ["add --out gaps.gpkg for polygons"]))
