"""Options for reading rasters, the same in every command. Imports no raster library."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any

import typer


def require_positive(value: float | None) -> float | None:
    if value is None or (isfinite(value) and value > 0):
        return value
    raise typer.BadParameter(f"{value:g} is not above 0. Give a number above 0")


def list_given_options(reading: Mapping[str, Any], *, skip_checks: bool = False) -> list[str]:
    """Return the options that differ from their defaults, with their values, as words of a command line.

    Args:
        reading: Values by name, such as {"band": 2, "feet": True}.
    """
    options = {**reading, "skip_checks": skip_checks}
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value is not None and value is not False}
    return [word for option, value in given.items() for word in ([option] if value is True else [f"{option}={value!r}"])]


PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="METERS",
        callback=require_positive,
        help="Pixel size of rasters without CRS, whose grid is then taken to be in meters.",
    ),
]
Resample = Annotated[bool, typer.Option("--resample", help="Make new pixels where grids or pixel sizes differ.")]
Crs = Annotated[str | None, typer.Option("--crs", metavar="EPSG:N", help="CRS to bring rasters to, with --resample.")]
Nodata = Annotated[float | None, typer.Option(help="Value that means no data, where the files do not say so.")]
BandNumber = Annotated[
    int | None,
    typer.Option("--band", metavar="N", min=1, help="Band to read of a raster with several bands of values; alpha is the mask."),
]
Feet = Annotated[bool, typer.Option("--feet", help="Elevations and heights are in feet; convert them to meters.")]
Scale = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", callback=require_positive, help="Factor from values to meters, such as 0.1 for decimeters."),
]
SkipChecks = Annotated[
    bool, typer.Option("--skip-checks", help="Use rasters that fail the input checks; print what was found as notes.")
]
