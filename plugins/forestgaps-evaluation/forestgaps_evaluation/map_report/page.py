"""A page about a gap map that `forestgaps predict` wrote. There is no reference, so it contains no accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.files.drafts import new_path
from forestgaps_evaluation.map_report.pictures import (
    choose_places,
    draw_close_up,
    draw_probability,
    draw_whole_map,
    make_probability_legend,
)
from forestgaps_evaluation.map_report.rasters import (
    FILES,
    UNSURE_RANGE,
    MapCounts,
    choose_main_threshold,
    count_map,
    get_pixel_size_m,
    is_map_folder,
    open_raster,
    read_overview,
    read_thresholds,
)
from forestgaps_evaluation.pages.charts import Chart, make_log_scale
from forestgaps_evaluation.pages.glossary import MAP_WORDS
from forestgaps_evaluation.pages.pictures import make_threshold_legend
from forestgaps_evaluation.pages.rendering import (
    NARROW_SPACE,
    Statement,
    TableRow,
    format_area,
    format_counted,
    format_hectares,
    format_meters,
    format_number,
    format_percent,
    render_page,
)
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2


def write_map_report(
    folder: Path,
    dsm: Path | Sequence[Path],
    out: Path,
    *,
    notes: str = "",
    reading: Mapping[str, Any] | None = None,
    shown_as: Path | None = None,
) -> Path:
    """Write the page of a folder made by `forestgaps predict`.

    Args:
        dsm: The surface model that was mapped, or the files it consists of.
        out: The page, a new file.
        notes: License, credit, whatever a reader should know of the data.
        reading: How the surface model is read: band, nodata, feet, scale, as `forestgaps_geo.bands.band.open_band` takes them.
        shown_as: Path of the folder on the page, where it is still to get its name.

    Raises:
        DataError: Not such a folder, or the surface model lies elsewhere; or `out` exists.
    """
    surfaces = [dsm] if isinstance(dsm, Path) else list(dsm)
    if not is_map_folder(folder):
        raise DataError(f"{folder}: no folder of maps; `forestgaps predict` writes one, with {' and '.join(FILES)} in it")
    if not surfaces:
        raise DataError(f"{folder}: say which surface model was mapped, --dsm dsm.tif; the maps are drawn over its relief")
    with new_path(out, purpose="report") as draft:
        draft.write_text(
            render_page("map.html", fill_template(folder, surfaces, notes, shown_as or folder, reading)), encoding="utf-8"
        )
    return out


def fill_template(
    folder: Path, surfaces: Sequence[Path], notes: str, shown_as: Path, reading: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """What the template says."""
    with ExitStack() as stack:
        gaps = stack.enter_context(open_raster(folder / "gaps.tif"))
        chances = stack.enter_context(open_raster(folder / "probabilities.tif"))
        levels = read_thresholds(gaps)
        resolution = get_pixel_size_m(gaps)
        found = count_map(gaps, chances, levels)
        if not found.pixels:
            raise DataError(f"{folder / 'gaps.tif'}: no pixel has data")
        shade, planes, unsure, factor = read_overview(gaps, chances, surfaces, choose_main_threshold(levels), reading)
        places = choose_places(planes, factor, gaps)
        closer = [draw_close_up(gaps, surfaces, place, levels, reading) for place in places]
        crs = gaps.crs.to_string() if gaps.crs else "none"
        whole = draw_whole_map(shade, planes, gaps, levels, places, factor)
        sure = draw_probability(shade, unsure, gaps, choose_main_threshold(levels))
        width, height = gaps.width * resolution, gaps.height * resolution
        north = gaps.crs is not None
    rows = [make_row(found, n, resolution) for n in range(len(levels))]
    hectare = found.pixels * resolution**2 / 1e4
    return {
        "version": version("forestgaps-evaluation"),
        "made": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": shown_as.resolve().name,
        "contents": [
            ("findings", "In short"),
            ("map", "Map"),
            *([("close", "Close-ups")] if closer else []),
            ("fractions", "Gaps by threshold"),
            ("sizes", "Gap sizes"),
            ("reading", "How to read it"),
            ("data", "Data and files"),
            ("glossary", "Glossary"),
        ],
        "facts": [
            ("Surveyed area", format_hectares(hectare)),
            ("Extent", f"{width:,.0f} × {height:,.0f} m".replace(",", NARROW_SPACE)),
            ("Pixel size", format_meters(resolution)),
            ("Thresholds", ", ".join(f"{level:g}" for level in levels) + f"{NARROW_SPACE}m"),
            ("Coordinate system", crs),
        ],
        "findings": write_statements(found, resolution),
        "hectares": hectare,
        "legend": make_threshold_legend(levels),
        "sureness": make_probability_legend(),
        "whole": whole,
        "sure": sure,
        "closer": closer,
        "north": north,
        "main": choose_main_threshold(levels),
        "minimum_m2": f"{MIN_MAPPED_GAP_M2:g}",
        "head": [
            "Canopy lower than",
            "Share of the area",
            "Gap area",
            "Gaps",
            "Median gap",
            "Largest gap",
            "Half of the gap area in gaps of at least",
            "Unsure",
        ],
        "rows": rows,
        "charts": [make_size_chart(found, n, resolution) for n in range(len(levels))],
        "files": [*(str(shown_as / name) for name in FILES), *map(str, surfaces)],
        "versions": {name: version(name) for name in ("forestgaps-core", "forestgaps-evaluation")},
        "tags": found.tags,
        "notes": notes,
        "glossary": MAP_WORDS,
    }


def make_row(found: MapCounts, n: int, resolution_m: float) -> TableRow:
    sizes = found.sizes[n]
    return TableRow(
        format_meters(found.levels[n]),
        [
            format_percent(compute_gap_fractions(found, resolution_m)[n]),
            format_hectares(sizes.total_m2 / 1e4),
            format_number(len(sizes)),
            format_area(sizes.median_m2),
            format_area(sizes.largest_m2),
            format_area(sizes.half_m2),
            format_percent(found.unsure[n] / found.pixels),
        ],
    )


def compute_gap_fractions(found: MapCounts, resolution_m: float) -> NDArray[np.float64]:
    """Return the fraction of the surveyed area in the gaps that are counted, (K,)."""
    return np.array([sizes.total_m2 for sizes in found.sizes]) / (found.pixels * resolution_m**2)


def write_statements(found: MapCounts, resolution_m: float) -> list[Statement]:
    """Sentences from the counts."""
    fraction = compute_gap_fractions(found, resolution_m)
    n = found.levels.index(choose_main_threshold(found.levels))
    sizes = found.sizes[n]
    said = [
        Statement(
            f"Canopy lower than {format_meters(found.levels[n])} covers {format_percent(fraction[n])} of the surveyed area, "
            f"{format_hectares(sizes.total_m2 / 1e4)} in {format_counted(len(sizes), 'separate gap')}."
            if len(sizes)
            else f"No gap of at least {MIN_MAPPED_GAP_M2:g} m² was found below {format_meters(found.levels[n])} in the surveyed "
            "area."
        )
    ]
    if len(sizes):
        said.append(
            Statement(
                f"The largest of these gaps has {format_area(sizes.largest_m2)}; half of the gap area lies in gaps of "
                f"{format_area(sizes.half_m2)} or more, while half of the gaps are no larger than {format_area(sizes.median_m2)}."
            )
        )
    if len(fraction) > 1:
        rise = np.diff(fraction)
        most = int(rise.argmax())
        said.append(
            Statement(
                f"From {format_meters(found.levels[0])} to {format_meters(found.levels[-1])} the gap fraction goes from "
                f"{format_percent(fraction[0])} "
                f"to {format_percent(fraction[-1])}; it grows most between {format_meters(found.levels[most])} and "
                f"{format_meters(found.levels[most + 1])}."
            )
        )
    unsure = found.unsure / found.pixels
    worst = int(unsure.argmax())
    said.append(
        Statement(
            f"The network is least sure at {format_meters(found.levels[worst])}: there {format_percent(unsure[worst])} of the "
            "area has a "
            f"probability between {format_percent(UNSURE_RANGE[0], 0)} and {format_percent(UNSURE_RANGE[1], 0)}."
        )
    )
    said.append(
        Statement(
            "There is no reference for this area: the page shows what was mapped, and cannot say how right it is.", caution=True
        )
    )
    return said


def make_size_chart(found: MapCounts, n: int, resolution_m: float) -> Chart:
    every = (
        [float(sizes.areas_m2[0]) for sizes in found.sizes if len(sizes)],
        [sizes.largest_m2 for sizes in found.sizes if len(sizes)],
    )
    low, high = (min(every[0], default=1.0), max(every[1], default=10.0))
    most = max((len(sizes) for sizes in found.sizes), default=1)
    sizes, level = found.sizes[n], found.levels[n]
    chart = Chart(
        name=f"sizes-{n}",
        title=f"below {level:g} m",
        note=format_counted(len(sizes), "gap"),
        description=f"{format_counted(len(sizes), 'gap')} below {level:g} m"
        + (f", half of them up to {sizes.median_m2:g} square meters, the largest {sizes.largest_m2:g}." if len(sizes) else "."),
        x=make_log_scale(low, high, "gap area, m²"),
        y=make_log_scale(1, max(most, 2), "gaps at least so large"),
    )
    at = np.geomspace(chart.x.low, chart.x.high, 160)
    chart.line(at, sizes.at_least(at), "predicted")
    return chart
