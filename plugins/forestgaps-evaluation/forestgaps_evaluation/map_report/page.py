"""The report on a gap map that `forestgaps predict` wrote. Without a reference, it contains no accuracy."""

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
from forestgaps_core.output.report_sections import ReportData
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.map_report.pictures import (
    choose_places,
    draw_close_up,
    draw_probability,
    draw_whole_map,
    make_probability_legend,
)
from forestgaps_evaluation.map_report.rasters import (
    FILES,
    UNCERTAIN_RANGE,
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
from forestgaps_evaluation.pages.sections import add_contents, make_sections
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2


def write_map_report(
    folder: Path,
    dsm: Path | Sequence[Path],
    out: Path,
    *,
    notes: str = "",
    reading: Mapping[str, Any] | None = None,
    shown_as: Path | None = None,
    plugins: Plugins | None = None,
    settings: Sequence[str] = (),
) -> Path:
    """Write the page of a folder made by `forestgaps predict`.

    Args:
        dsm: The surface model that was mapped; one file or several.
        out: The page, a new file.
        notes: License and credit of the data.
        reading: Options for reading the surface model (band, nodata, feet, scale), as in `forestgaps_geo.bands.band.open_band`.
        shown_as: Path of the folder to print on the page, if the folder is still a draft with another name.
        plugins: Whose sections the page has; by default, all that is installed.
        settings: Of these sections, such as `postprocessing.key=value`.

    Raises:
        DataError: The folder contains no map, the surface model does not cover the map, or `out` exists.
    """
    surfaces = [dsm] if isinstance(dsm, Path) else list(dsm)
    if not is_map_folder(folder):
        raise DataError(f"{folder}: does not contain {' and '.join(FILES)}. Give a folder that `forestgaps predict` wrote")
    if not surfaces:
        raise DataError(f"{folder}: the surface model of the map is missing. Give it with --dsm DSM.tif")
    with new_path(out, purpose="report") as draft:
        values = fill_template(folder, surfaces, notes, shown_as or folder, reading)
        sections = make_sections(describe_map(folder, surfaces, values), plugins or Plugins.discover(), settings)
        contents = add_contents(values["contents"], sections)
        page = render_page("map.html", {**values, "contents": contents, "sections": sections})
        draft.write_text(page, encoding="utf-8")
    return out


def fill_template(
    folder: Path, surfaces: Sequence[Path], notes: str, shown_as: Path, reading: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return the values of the template."""
    with ExitStack() as stack:
        gaps = stack.enter_context(open_raster(folder / "gaps.tif"))
        probabilities = stack.enter_context(open_raster(folder / "probabilities.tif"))
        levels = read_thresholds(gaps)
        resolution = get_pixel_size_m(gaps)
        counts = count_map(gaps, probabilities, levels)
        if not counts.pixels:
            raise DataError(f"{folder / 'gaps.tif'}: no pixel has data")
        main = choose_main_threshold(levels)
        shade, masks, probability, factor = read_overview(gaps, probabilities, surfaces, main, reading)
        places = choose_places(masks, factor, gaps)
        close_ups = [draw_close_up(gaps, surfaces, place, levels, reading) for place in places]
        crs = gaps.crs.to_string() if gaps.crs else "none"
        whole_map = draw_whole_map(shade, masks, gaps, levels, places, factor)
        probability_map = draw_probability(shade, probability, gaps, main)
        width, height = gaps.width * resolution, gaps.height * resolution
        north = gaps.crs is not None
    rows = [make_row(counts, n, resolution) for n in range(len(levels))]
    area = format_hectares(counts.pixels * resolution**2 / 1e4)
    return {
        "version": version("forestgaps-evaluation"),
        "created": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": shown_as.resolve().name,
        "contents": [
            ("findings", "Summary"),
            ("map", "Map"),
            *([("close", "Close-ups")] if close_ups else []),
            ("fractions", "Gaps by threshold"),
            ("sizes", "Gap sizes"),
            ("reading", "Accuracy and limits"),
            ("data", "Data and files"),
            ("glossary", "Glossary"),
        ],
        "facts": [
            ("Surveyed area", area),
            ("Extent", f"{width:,.0f} × {height:,.0f} m".replace(",", NARROW_SPACE)),
            ("Pixel size", format_meters(resolution)),
            ("Thresholds", ", ".join(f"{level:g}" for level in levels) + f"{NARROW_SPACE}m"),
            ("Coordinate system", crs),
        ],
        "statements": write_statements(counts, resolution),
        "legend": make_threshold_legend(levels),
        "probability_legend": make_probability_legend(),
        "whole": whole_map,
        "probability": probability_map,
        "close_ups": close_ups,
        "north": north,
        "minimum_m2": f"{MIN_MAPPED_GAP_M2:g}",
        "head": [
            "Canopy lower than",
            "Gap fraction",
            "Gap area",
            "Gaps",
            "Median gap",
            "Largest gap",
            "Half of the gap area in gaps of at least",
            "Uncertain",
        ],
        "rows": rows,
        "charts": [make_size_chart(counts, n) for n in range(len(levels))],
        "files": [*(str(shown_as / name) for name in FILES), *map(str, surfaces)],
        "versions": {name: version(name) for name in ("forestgaps-core", "forestgaps-evaluation")},
        "levels": levels,
        "resolution_m": resolution,
        "tags": counts.tags,
        "notes": notes,
        "glossary": MAP_WORDS,
    }


def describe_map(folder: Path, surfaces: Sequence[Path], values: Mapping[str, Any]) -> ReportData:
    """Return what sections of packages get."""
    return ReportData(
        subject="map",
        path=folder,
        thresholds=values["levels"],
        resolution_m=values["resolution_m"],
        files={Path(name).stem: folder / name for name in FILES},
        surfaces=tuple(surfaces),
        tags=values["tags"],
    )


def make_row(counts: MapCounts, n: int, resolution_m: float) -> TableRow:
    sizes = counts.sizes[n]
    return TableRow(
        format_meters(counts.levels[n]),
        [
            format_percent(compute_gap_fractions(counts, resolution_m)[n]),
            format_hectares(sizes.total_m2 / 1e4),
            format_number(len(sizes)),
            format_area(sizes.median_m2),
            format_area(sizes.largest_m2),
            format_area(sizes.half_m2),
            format_percent(counts.uncertain[n] / counts.pixels),
        ],
    )


def compute_gap_fractions(counts: MapCounts, resolution_m: float) -> NDArray[np.float64]:
    """Return the fraction of the surveyed area in the counted gaps, (K,)."""
    return np.array([sizes.total_m2 for sizes in counts.sizes]) / (counts.pixels * resolution_m**2)


def write_statements(counts: MapCounts, resolution_m: float) -> list[Statement]:
    """Return the summary of the map in sentences; every number in them is computed."""
    fraction = compute_gap_fractions(counts, resolution_m)
    n = counts.levels.index(choose_main_threshold(counts.levels))
    sizes = counts.sizes[n]
    statements = [
        Statement(
            f"Canopy lower than {format_meters(counts.levels[n])} covers {format_percent(fraction[n])} of the surveyed area: "
            f"{format_hectares(sizes.total_m2 / 1e4)} in {format_counted(len(sizes), 'gap')}."
            if len(sizes)
            else f"The surveyed area contains no gap of at least {MIN_MAPPED_GAP_M2:g} m² at {format_meters(counts.levels[n])}."
        )
    ]
    if len(sizes):
        statements.append(
            Statement(
                f"The largest of these gaps covers {format_area(sizes.largest_m2)} and the median gap "
                f"{format_area(sizes.median_m2)}. Half of the gap area is in gaps of at least {format_area(sizes.half_m2)}."
            )
        )
    if len(fraction) > 1:
        largest = int(np.diff(fraction).argmax())
        statements.append(
            Statement(
                f"The gap fraction increases from {format_percent(fraction[0])} at {format_meters(counts.levels[0])} to "
                f"{format_percent(fraction[-1])} at {format_meters(counts.levels[-1])}. The increase is largest between "
                f"{format_meters(counts.levels[largest])} and {format_meters(counts.levels[largest + 1])}."
            )
        )
    uncertain = counts.uncertain / counts.pixels
    worst = int(uncertain.argmax())
    statements.append(
        Statement(
            f"The map is least certain at {format_meters(counts.levels[worst])}: there, {format_percent(uncertain[worst])} of the "
            f"area has a probability between {format_percent(UNCERTAIN_RANGE[0], 0)} and {format_percent(UNCERTAIN_RANGE[1], 0)}."
        )
    )
    statements.append(
        Statement("The accuracy of this map is not known, because there is no reference for this area.", caution=True)
    )
    return statements


def make_size_chart(counts: MapCounts, n: int) -> Chart:
    """Return the chart of the number of gaps of at least each area, with the same axes at every threshold."""
    low = min((float(sizes.areas_m2[0]) for sizes in counts.sizes if len(sizes)), default=1.0)
    high = max((sizes.largest_m2 for sizes in counts.sizes if len(sizes)), default=10.0)
    most = max((len(sizes) for sizes in counts.sizes), default=1)
    sizes, level = counts.sizes[n], counts.levels[n]
    chart = Chart(
        name=f"sizes-{n}",
        title=f"below {level:g} m",
        note=format_counted(len(sizes), "gap"),
        description=f"{format_counted(len(sizes), 'gap')} below {level:g} m"
        + (f"; median {sizes.median_m2:g} square meters, largest {sizes.largest_m2:g}." if len(sizes) else "."),
        x=make_log_scale(low, high, "gap area, m²"),
        y=make_log_scale(1, max(most, 2), "gaps of at least this area"),
    )
    areas = np.geomspace(chart.x.low, chart.x.high, 160)
    chart.line(areas, sizes.at_least(areas), "predicted")
    return chart
