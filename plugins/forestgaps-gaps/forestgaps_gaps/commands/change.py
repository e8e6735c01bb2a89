"""`forestgaps change`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from forestgaps_core.cli.commands.options import Json
from forestgaps_core.cli.commands.raster_options import Feet, Nodata, PixelSize, Scale, SkipChecks
from forestgaps_core.cli.commands.results import print_json, print_notes, print_written
from forestgaps_core.cli.commands.thresholds import Thresholds
from forestgaps_core.output.counts import format_count, format_hectares, format_square_meters
from forestgaps_gaps.commands.options import AtMost, Connectivity, make_criteria


def change(
    earlier: Annotated[Path, typer.Argument(metavar="EARLIER.tif", help="CHM in meters, or gap map, of the first survey.")],
    later: Annotated[Path, typer.Argument(metavar="LATER.tif", help="CHM or gap map of the second survey, on the same grid.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")] = Path("change"),
    threshold: Thresholds = None,
    connectivity: Connectivity = 8,
    at_most: AtMost = False,
    min_area: Annotated[
        float | None,
        typer.Option(metavar="M2", min=0, help="Smallest area of a gap at its date, m2. Default: 4 for gap maps, 0 for heights."),
    ] = None,
    max_area: Annotated[float | None, typer.Option(metavar="M2", min=0, help="Largest area of a gap at its date, m2.")] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="FRACTION", min=0, help="Largest change of area of a stable gap, as a fraction of its area.")
    ] = 0.1,
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="EARLIER LATER", help="Dates of the surveys, such as 2019-03-01 2024-02-15, for rates per year."),
    ] = None,
    band: Annotated[int | None, typer.Option(metavar="N", help="Number of the band. Default: all bands of gap maps.")] = None,
    pixel_size: PixelSize = None,
    nodata: Nodata = None,
    feet: Feet = False,
    scale: Scale = None,
    skip_checks: SkipChecks = False,
    as_json: Json = False,
) -> None:
    """Gaps that opened, closed, grew or shrank between two dates.

    Compares the pixels surveyed at both dates. For each threshold, writes a map of transitions (0 canopy, 1 gap at both dates,
    2 new, 3 closed, 255 no data) and a table of changes. Writes a GeoPackage with the gaps of both dates and their class.
    """
    from forestgaps_core.output.progress import show_progress
    from forestgaps_gaps.change.comparison import ChangeOptions, compare_rasters
    from forestgaps_gaps.rasters.opening import ReadingOptions

    options = ChangeOptions(
        reading=ReadingOptions(
            thresholds=threshold or (),
            at_most=at_most,
            band=band,
            pixel_size_m=pixel_size,
            nodata=nodata,
            feet=feet,
            scale=scale,
            skip_checks=skip_checks,
        ),
        criteria=make_criteria(connectivity, min_area, max_area),
        tolerance=tolerance,
        dates=None if dates is None else (parse_date(dates[0]), parse_date(dates[1])),
    )
    with show_progress(shown=not as_json) as report:
        done = compare_rasters(earlier, later, out, options, report)
    if as_json:
        print_json(thresholds=done.summaries, files=[str(path) for path in done.files], notes=done.notes)
        return
    for summary in done.summaries:
        for line in format_changes(summary):
            typer.echo(line)
    print_written(done.files)
    print_notes(done.notes)


def parse_date(text: str) -> Any:
    """Return a date from text such as 2019-03-01.

    Raises:
        DataError: The text is not a date.
    """
    from datetime import date

    from forestgaps_core.errors import DataError

    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"--dates: {text!r} is not a date. Write it as 2019-03-01") from error


def format_changes(summary: Mapping[str, Any]) -> list[str]:
    """Return the summary of one threshold as text lines, with a table."""
    level, surveyed = summary["threshold_m"], summary["surveyed_m2"]
    height = "gaps of the maps" if level is None else f"canopy {'up to' if summary['at_most'] else 'below'} {level:g} m"
    most = "" if summary["maximum_area_m2"] is None else f" and at most {summary['maximum_area_m2']:g} m2"
    lines = [
        f"{height}, of at least {summary['minimum_area_m2']:g} m2{most}, {summary['connectivity']} neighbors, "
        f"{summary['resolution_m']:g} m pixels: {format_hectares(surveyed)} surveyed at both dates"
    ]
    for when in ("earlier", "later"):
        gaps, area = summary[when]["gaps"], summary[when]["gap_m2"]
        fraction = f" ({area / surveyed:.2%})" if surveyed else ""
        lines.append(f"  {when}: {format_count(gaps, 'gap')}, {format_square_meters(area)} m2{fraction}")
    new, closed, both = (f"{format_square_meters(summary[key])} m2" for key in ("new_m2", "closed_m2", "both_m2"))
    lines.append(f"  new {new}, closed {closed}, gap at both {both}")
    if found := summary["per_year"]:
        rates = (("of the canopy opened", found["canopy_opened"]), ("of the gap area closed", found["gap_closed"]))
        parts = [f"{rate:.2%} {what}" for what, rate in rates if rate is not None]
        lines.append(f"  per year, over {summary['years']:.2f} years: {', '.join(parts) or 'no rates, without canopy and gaps'}")
    lines.append(f"  {'class':<10}{'changes':>9}{'earlier m2':>14}{'later m2':>14}{'new m2':>12}{'closed m2':>12}")
    for name, values in summary["classes"].items():
        if values["changes"]:
            areas = "".join(f"{format_square_meters(values[key]):>{width}}" for key, width in AREA_WIDTHS.items())
            lines.append(f"  {name:<10}{values['changes']:>9,}{areas}")
    return lines


AREA_WIDTHS = {"earlier_m2": 14, "later_m2": 14, "new_m2": 12, "closed_m2": 12}
