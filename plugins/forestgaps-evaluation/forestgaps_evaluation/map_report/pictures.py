"""The pictures of a report on a gap map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.palette import threshold_colors
from forestgaps_evaluation.map_report.rasters import NODATA, choose_main_threshold, place_part, read_surfaces
from forestgaps_evaluation.pages.pictures import (
    FramedPicture,
    LegendEntry,
    MarkedPlace,
    blend_over,
    convert_to_bytes,
    draw_gaps,
    draw_relief,
    enlarge,
    frame_picture,
    hillshade,
    make_color_ramp,
)
from forestgaps_evaluation.pages.rendering import format_percent
from forestgaps_geo.grids.windows import iterate_windows

if TYPE_CHECKING:
    from rasterio import DatasetReader

CLOSE_UP_PIXELS = 200  # side of a close-up, in pixels of the raster


def draw_whole_map(
    shade: NDArray[np.float32],
    masks: NDArray[np.uint8],
    gaps: DatasetReader,
    levels: Sequence[float],
    places: Sequence[MarkedPlace],
    factor: float,
) -> FramedPicture:
    valid = masks[0] != NODATA
    picture = draw_gaps(shade, masks == 1, valid)
    marks = [
        MarkedPlace(name=p.name, x=p.x / factor, y=p.y / factor, width=p.width / factor, height=p.height / factor) for p in places
    ]
    return frame_picture(
        *enlarge_small(picture, marks),
        width_m=gaps.width * float(gaps.transform.a),
        alt=f"Map of the whole area: gaps below {', '.join(f'{level:g}' for level in levels)} m in colors over the relief; "
        + ("the squares " + ", ".join(p.name for p in places) + " are shown larger below." if places else ""),
        caption="Gaps, in the color of their lowest threshold, over the relief of the surface.",
    )


def enlarge_small(picture: NDArray[np.uint8], marks: Sequence[MarkedPlace]) -> tuple[NDArray[np.uint8], Sequence[MarkedPlace]]:
    """Enlarge a small picture, each pixel to a square, so that browsers do not blur it."""
    factor = max(1, 700 // max(picture.shape[:2]))
    large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return large, [
        MarkedPlace(name=m.name, x=m.x * factor, y=m.y * factor, width=m.width * factor, height=m.height * factor) for m in marks
    ]


def make_probability_legend() -> list[LegendEntry]:
    colors = threshold_colors(5)[::-1]
    labels = ["0 to 20 %, gap very unlikely", "20 to 40 %", "40 to 60 %, uncertain", "60 to 80 %", "80 to 100 %, gap very likely"]
    return [LegendEntry(label, color) for label, color in zip(labels, colors, strict=True)]


def draw_probability(
    shade: NDArray[np.float32], probability: NDArray[np.float32], gaps: DatasetReader, threshold: float
) -> FramedPicture:
    valid = np.isfinite(probability)
    classes = np.clip(np.nan_to_num(probability) * 5, 0, 4).astype(int)
    picture = convert_to_bytes(blend_over(shade, make_color_ramp(5)[::-1][classes], valid, strength=0.85), valid)
    return frame_picture(
        *enlarge_small(picture, ()),
        width_m=gaps.width * float(gaps.transform.a),
        alt=f"Map of the whole area: probability that the canopy is lower than {threshold:g} m, from dark (very unlikely) "
        "to bright (very likely).",
        caption=f"Probability that the canopy is lower than {threshold:g} m.",
    )


def choose_places(masks: NDArray[np.uint8], factor: float, gaps: DatasetReader) -> list[MarkedPlace]:
    """Return up to three squares for close-ups, in pixels of the raster: with a low, a medium and a high gap fraction.

    The gap fraction is that at the middle threshold. Only squares with more than 90 % valid pixels are considered.
    """
    side = min(CLOSE_UP_PIXELS, gaps.width, gaps.height)
    if max(gaps.width, gaps.height) < 1.5 * CLOSE_UP_PIXELS:
        return []
    squares = []
    middle = masks[len(masks) // 2]
    whole_rows, whole_columns = gaps.height // side * side, gaps.width // side * side
    for top, left, _, _ in iterate_windows(whole_rows, whole_columns, side, side):
        part = middle[int(top / factor) : int((top + side) / factor) + 1, int(left / factor) : int((left + side) / factor) + 1]
        valid = part != NODATA
        if valid.mean() > 0.9:
            squares.append((float((part[valid] == 1).mean()), top, left))
    squares.sort()
    chosen = [squares[n] for n in sorted({len(squares) - 1, len(squares) // 2, 0})] if squares else []
    return [
        MarkedPlace(name=name, x=left, y=top, width=side, height=side) for name, (_, top, left) in zip("ABC", chosen, strict=False)
    ]


def draw_close_up(
    gaps: DatasetReader,
    surfaces: Sequence[Path],
    place: MarkedPlace,
    levels: Sequence[float],
    reading: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    from rasterio.windows import Window

    window = Window(int(place.x), int(place.y), int(place.width), int(place.height))
    masks = gaps.read(window=window)
    transform = place_part(gaps.transform, row=place.y, column=place.x)
    surface = read_surfaces(surfaces, gaps, transform, int(place.height), int(place.width), reading)
    valid = masks[0] != NODATA
    factor = max(1, 560 // int(place.width))
    shade = enlarge(hillshade(surface, float(transform.a)), factor)
    width_m = place.width * float(transform.a)
    enlarged_valid, gap = enlarge(valid, factor), enlarge(masks == 1, factor)
    fraction = (
        format_percent(float((masks[:, valid] == 1)[list(levels).index(choose_main_threshold(levels))].mean()))
        if valid.any()
        else "–"
    )
    return {
        "name": place.name,
        "relief": frame_picture(
            draw_relief(shade, enlarged_valid),
            width_m=width_m,
            alt=f"Relief of the surface in square {place.name}.",
            caption=f"{place.name}: surface (hillshade)",
        ),
        "gaps": frame_picture(
            draw_gaps(shade, gap, enlarged_valid),
            width_m=width_m,
            alt=f"Gaps over the relief in square {place.name}; {fraction} of it is lower than {choose_main_threshold(levels):g} m.",
            caption=f"{place.name}: gaps; {fraction} of the square is lower than {choose_main_threshold(levels):g} m",
        ),
    }
