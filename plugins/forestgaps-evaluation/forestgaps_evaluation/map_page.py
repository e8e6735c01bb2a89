"""A page about a gap map that `forestgaps predict` wrote. There is no reference: it shows and counts, and judges nothing."""

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
from forestgaps_evaluation.charts import Chart, powers
from forestgaps_evaluation.glossary import MAP_WORDS
from forestgaps_evaluation.map_pictures import close_up, interesting, sureness_legend, sureness_map, whole_map
from forestgaps_evaluation.map_rasters import (
    FILES,
    UNSURE,
    Counted,
    counted,
    is_map_folder,
    main,
    overview,
    pixel_size_m,
    raster,
    thresholds_of,
)
from forestgaps_evaluation.maps import threshold_legend
from forestgaps_evaluation.rendering import (
    SPACE,
    Finding,
    Line,
    area,
    count,
    hectares,
    meters,
    number_of,
    percent,
    rendered,
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
        notes: Licence, credit, whatever a reader should know of the data.
        reading: How the surface model is read: band, nodata, feet, scale, as `forestgaps_geo.bands.opened` takes them.
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
        draft.write_text(rendered("map.html", page(folder, surfaces, notes, shown_as or folder, reading)), encoding="utf-8")
    return out


def page(
    folder: Path, surfaces: Sequence[Path], notes: str, shown_as: Path, reading: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """What the template says."""
    with ExitStack() as stack:
        gaps = stack.enter_context(raster(folder / "gaps.tif"))
        chances = stack.enter_context(raster(folder / "probabilities.tif"))
        levels = thresholds_of(gaps)
        resolution = pixel_size_m(gaps)
        found = counted(gaps, chances, levels)
        if not found.pixels:
            raise DataError(f"{folder / 'gaps.tif'}: no pixel has data")
        shade, planes, unsure, factor = overview(gaps, chances, surfaces, main(levels), reading)
        places = interesting(planes, factor, gaps)
        closer = [close_up(gaps, surfaces, place, levels, reading) for place in places]
        crs = gaps.crs.to_string() if gaps.crs else "none"
        whole = whole_map(shade, planes, gaps, levels, places, factor)
        sure = sureness_map(shade, unsure, gaps, main(levels))
        width, height = gaps.width * resolution, gaps.height * resolution
        north = gaps.crs is not None
    rows = [row(found, n, resolution) for n in range(len(levels))]
    hectare = found.pixels * resolution**2 / 1e4
    return {
        "version": version("forestgaps-evaluation"),
        "made": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": shown_as.resolve().name,
        "contents": [
            ("findings", "In short"),
            ("map", "Map"),
            *([("close", "Close-ups")] if closer else []),
            ("shares", "Gaps by threshold"),
            ("sizes", "Gap sizes"),
            ("reading", "How to read it"),
            ("data", "Data and files"),
            ("glossary", "Glossary"),
        ],
        "facts": [
            ("Surveyed area", hectares(hectare)),
            ("Extent", f"{width:,.0f} × {height:,.0f} m".replace(",", SPACE)),
            ("Pixel size", meters(resolution)),
            ("Thresholds", ", ".join(f"{level:g}" for level in levels) + f"{SPACE}m"),
            ("Coordinate system", crs),
        ],
        "findings": findings(found, resolution),
        "hectares": hectare,
        "legend": threshold_legend(levels),
        "sureness": sureness_legend(),
        "whole": whole,
        "sure": sure,
        "closer": closer,
        "north": north,
        "main": main(levels),
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
        "charts": [size_chart(found, n, resolution) for n in range(len(levels))],
        "files": [*(str(shown_as / name) for name in FILES), *map(str, surfaces)],
        "versions": {name: version(name) for name in ("forestgaps-core", "forestgaps-evaluation")},
        "tags": found.tags,
        "notes": notes,
        "glossary": MAP_WORDS,
    }


def row(found: Counted, n: int, resolution_m: float) -> Line:
    sizes = found.sizes[n]
    return Line(
        meters(found.levels[n]),
        [
            percent(shares(found, resolution_m)[n]),
            hectares(sizes.total_m2 / 1e4),
            count(len(sizes)),
            area(sizes.median_m2),
            area(sizes.largest_m2),
            area(sizes.half_m2),
            percent(found.unsure[n] / found.pixels),
        ],
    )


def shares(found: Counted, resolution_m: float) -> NDArray[np.float64]:
    """Return the share of the surveyed area in the gaps that are counted, (K,)."""
    return np.array([sizes.total_m2 for sizes in found.sizes]) / (found.pixels * resolution_m**2)


def findings(found: Counted, resolution_m: float) -> list[Finding]:
    """Sentences from the counts."""
    share = shares(found, resolution_m)
    n = found.levels.index(main(found.levels))
    sizes = found.sizes[n]
    said = [
        Finding(
            f"Canopy lower than {meters(found.levels[n])} covers {percent(share[n])} of the surveyed area, "
            f"{hectares(sizes.total_m2 / 1e4)} in {number_of(len(sizes), 'separate gap')}."
            if len(sizes)
            else f"No gap of at least {MIN_MAPPED_GAP_M2:g} m² was found below {meters(found.levels[n])} in the surveyed area."
        )
    ]
    if len(sizes):
        said.append(
            Finding(
                f"The largest of these gaps has {area(sizes.largest_m2)}; half of the gap area lies in gaps of "
                f"{area(sizes.half_m2)} or more, while half of the gaps are no larger than {area(sizes.median_m2)}."
            )
        )
    if len(share) > 1:
        rise = np.diff(share)
        most = int(rise.argmax())
        said.append(
            Finding(
                f"From {meters(found.levels[0])} to {meters(found.levels[-1])} the gap fraction goes from {percent(share[0])} "
                f"to {percent(share[-1])}; it grows most between {meters(found.levels[most])} and {meters(found.levels[most + 1])}."
            )
        )
    unsure = found.unsure / found.pixels
    worst = int(unsure.argmax())
    said.append(
        Finding(
            f"The network is least sure at {meters(found.levels[worst])}: there {percent(unsure[worst])} of the area has a "
            f"probability between {percent(UNSURE[0], 0)} and {percent(UNSURE[1], 0)}."
        )
    )
    said.append(
        Finding(
            "There is no reference for this area: the page shows what was mapped, and cannot say how right it is.", caution=True
        )
    )
    return said


def size_chart(found: Counted, n: int, resolution_m: float) -> Chart:
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
        note=number_of(len(sizes), "gap"),
        description=f"{number_of(len(sizes), 'gap')} below {level:g} m"
        + (f", half of them up to {sizes.median_m2:g} square meters, the largest {sizes.largest_m2:g}." if len(sizes) else "."),
        x=powers(low, high, "gap area, m²"),
        y=powers(1, max(most, 2), "gaps at least so large"),
    )
    at = np.geomspace(chart.x.low, chart.x.high, 160)
    chart.line(at, sizes.at_least(at), "predicted")
    return chart
