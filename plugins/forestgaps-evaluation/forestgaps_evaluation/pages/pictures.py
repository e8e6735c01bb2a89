"""Pictures of maps: hillshade, gaps by height threshold, agreement; as `data:` addresses to stand inside a page.

Colors are those of `forestgaps_core.output.palette`; of the agreement, two are hatched as well.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from forestgaps_core.output.palette import (
    AGREEMENT,
    CANOPY,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    rgb_bytes,
    threshold_colors,
)

Value = TypeVar("Value", bound=np.generic)
Gray = NDArray[np.float32]
Picture = NDArray[np.uint8]

TRUE_POSITIVE_RGB, FALSE_NEGATIVE_RGB, FALSE_POSITIVE_RGB = map(rgb_bytes, (TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE))
NO_DATA_RGB = (150, 150, 150)
HATCH_PIXELS = 6  # pixels from one stripe to the next


@frozen
class LegendEntry:
    """An entry of a legend: the words, the color as `#rrggbb`, and the pattern besides it ("", "stripes" or "dots")."""

    words: str
    hex: str
    pattern: str = ""


def hillshade(
    surface: NDArray[np.float32], resolution_m: float, *, azimuth: float = 315.0, altitude: float = 45.0, exaggeration: float = 0.5
) -> Gray:
    """Brightness of a surface lit from one side, 0 to 1; NaN where the surface is NaN or has a NaN neighbor on both sides.

    Args:
        surface: Meters, (rows, columns), NaN without data.
        azimuth: Of the sun, degrees clockwise from the top.
        altitude: Of the sun above the horizon, degrees.
        exaggeration: Factor on heights. Tree crowns are steep: below 1 their sides keep shades of gray.

    Source: Horn 1981, Hill shading and the reflectance map, doi 10.1109/PROC.1981.11918, with central differences.
    """
    down, right = (difference_along(surface, axis) * (exaggeration / resolution_m) for axis in (0, 1))
    slope = np.arctan(np.hypot(down, right))
    aspect = np.arctan2(-right, down)  # clockwise from the top, the way the slope faces
    zenith, sun = np.radians(90 - altitude), np.radians(azimuth)
    lit = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(sun - aspect)
    shaded: Gray = np.clip(lit, 0.0, 1.0).astype(np.float32)
    return shaded


def difference_along(surface: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Rise from one pixel to the next along an axis: central where both neighbors are there, else to the one that is."""
    surface = np.moveaxis(surface, axis, 0)
    step = np.full_like(surface[:1], np.nan)
    ahead = np.concatenate([np.diff(surface, axis=0), step])
    behind = np.concatenate([step, np.diff(surface, axis=0)])
    both = np.stack([ahead, behind])
    known = np.isfinite(both)
    count = known.sum(0)
    rise = np.where(known, both, 0).sum(0) / np.maximum(count, 1)
    rise = np.where((count > 0) & np.isfinite(surface), rise, np.nan)
    return np.moveaxis(rise.astype(np.float32), 0, axis)


def make_color_ramp(count: int) -> NDArray[np.float64]:
    """The colors of so many thresholds, (count, 3) 0 to 255."""
    return np.array([rgb_bytes(color) for color in threshold_colors(count)], np.float64)


def make_threshold_legend(thresholds: Sequence[float]) -> list[LegendEntry]:
    """From the lowest threshold on; last the canopy above them all."""
    colors = threshold_colors(len(thresholds))
    below = ["0", *(f"{threshold:g}" for threshold in thresholds)]
    named = [
        LegendEntry(f"below {high:g} m" if not n else f"{below[n]} to {high:g} m", colors[n]) for n, high in enumerate(thresholds)
    ]
    return [*named, LegendEntry(f"{thresholds[-1]:g} m and more: no gap", CANOPY)]


def make_agreement_legend() -> list[LegendEntry]:
    return [
        LegendEntry(words, color, pattern)
        for (words, color), pattern in zip(AGREEMENT.items(), ("", "stripes", "dots"), strict=True)
    ]


def shade_gray(shade: Gray) -> NDArray[np.float64]:
    """Hillshade as a light gray picture, (rows, columns, 3) 0 to 255; without data it is flat gray."""
    gray = np.where(np.isfinite(shade), 60 + 195 * np.clip(np.nan_to_num(shade) * 1.12, 0, 1), NO_DATA_RGB[0])
    return np.repeat(gray[..., None], 3, axis=2)


def blend_over(
    shade: Gray, colors: NDArray[np.float64], where: NDArray[np.bool_], *, strength: float = 0.78
) -> NDArray[np.float64]:
    """Colors laid over the hillshade where the mask is true; relief still shows as light and dark."""
    base = shade_gray(shade)
    relief = 0.72 + 0.4 * np.clip(np.nan_to_num(shade, nan=0.7), 0, 1)[..., None]
    mixed = strength * np.clip(colors * relief, 0, 255) + (1 - strength) * base
    return np.where(where[..., None], mixed, base)


def draw_gaps(shade: Gray, gaps: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Picture:
    """Gaps of nested thresholds over the hillshade: each pixel has the color of the lowest threshold at which it is a gap.

    Args:
        shade: (rows, columns).
        gaps: (K, rows, columns), thresholds ascending.
    """
    lowest = gaps.argmax(0)
    colors = make_color_ramp(len(gaps))[lowest]
    return convert_to_bytes(blend_over(shade, colors, gaps.any(0) & valid), valid)


def draw_agreement(shade: Gray, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Picture:
    """Where map and reference agree on a gap, and where not, with stripes on false negatives and dots on false positives."""
    colors = np.zeros((*shade.shape, 3))
    colors[predicted & reference] = TRUE_POSITIVE_RGB
    colors[reference & ~predicted] = FALSE_NEGATIVE_RGB
    colors[predicted & ~reference] = FALSE_POSITIVE_RGB
    picture = blend_over(shade, colors, (predicted | reference) & valid, strength=0.85)
    row, column = np.indices(shade.shape)
    stripes = ((row + column) % HATCH_PIXELS < 1.5) & reference & ~predicted & valid
    dots = (row % HATCH_PIXELS < 2) & (column % HATCH_PIXELS < 2) & predicted & ~reference & valid
    picture[stripes | dots] *= 0.45
    return convert_to_bytes(picture, valid)


def draw_relief(shade: Gray, valid: NDArray[np.bool_]) -> Picture:
    return convert_to_bytes(shade_gray(shade), valid)


def convert_to_bytes(picture: NDArray[np.float64], valid: NDArray[np.bool_]) -> Picture:
    """As bytes, gray where there is no data."""
    return np.where(valid[..., None], np.clip(np.rint(picture), 0, 255), NO_DATA_RGB).astype(np.uint8)


def enlarge(plane: NDArray[Value], factor: int) -> NDArray[Value]:
    """Each pixel as a square of `factor` pixels a side; the last two axes."""
    return plane.repeat(factor, axis=-2).repeat(factor, axis=-1)


def encode_picture(picture: Picture, *, quality: int = 80) -> str:
    """A picture as a `data:` address, WebP."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@frozen(kw_only=True)
class ScaleBar:
    """A scale bar: its part of the picture's width, and its length in words."""

    part: float
    words: str


@frozen(kw_only=True)
class MarkedPlace:
    """A marked place on a picture, in its pixels."""

    name: str
    x: float
    y: float
    width: float
    height: float


@frozen(kw_only=True)
class FramedPicture:
    """A picture with what a page needs around it."""

    data: str
    width: int
    height: int
    alt: str
    caption: str
    bar: ScaleBar | None = None
    places: tuple[MarkedPlace, ...] = ()


def make_scale_bar(width_m: float) -> ScaleBar:
    """The longest round length that takes at most a third of the width."""
    power = 10.0 ** np.floor(np.log10(width_m / 3))
    length = next(power * factor for factor in (5, 2, 1) if power * factor <= width_m / 3)
    words = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    return ScaleBar(part=length / width_m, words=words)


def frame_picture(
    picture: Picture, places: Sequence[MarkedPlace] = (), *, width_m: float | None, alt: str, caption: str, quality: int = 80
) -> FramedPicture:
    """A picture as a page shows it, with a scale bar where its width on the ground is given."""
    return FramedPicture(
        data=encode_picture(picture, quality=quality),
        width=picture.shape[1],
        height=picture.shape[0],
        alt=alt,
        caption=caption,
        bar=make_scale_bar(width_m) if width_m else None,
        places=tuple(places),
    )
