"""Pictures of maps (hillshade, gaps by height threshold, agreement) as `data:` addresses inside a page.

Colors are those of `forestgaps_core.output.palette`. Two classes of the agreement are also hatched.
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
HATCH_PIXELS = 6  # distance between stripes, in pixels


@frozen
class LegendEntry:
    """An entry of a legend: label, color as `#rrggbb`, and pattern ("", "stripes" or "dots")."""

    label: str
    hex: str
    pattern: str = ""


def hillshade(
    surface: NDArray[np.float32], resolution_m: float, *, azimuth: float = 315.0, altitude: float = 45.0, exaggeration: float = 0.5
) -> Gray:
    """Return the hillshade of a surface, 0 to 1; NaN where the surface is NaN or both neighbors along an axis are NaN.

    Args:
        surface: Meters, (rows, columns), NaN without data.
        azimuth: Direction of the sun, degrees clockwise from the top.
        altitude: Angle of the sun above the horizon, degrees.
        exaggeration: Factor on heights. A factor below 1 keeps shades of gray on the steep sides of tree crowns.

    Source: Horn 1981, Hill shading and the reflectance map, doi 10.1109/PROC.1981.11918, with central differences.
    """
    down, right = (compute_difference_along(surface, axis) * (exaggeration / resolution_m) for axis in (0, 1))
    slope = np.arctan(np.hypot(down, right))
    aspect = np.arctan2(-right, down)  # clockwise from the top, the way the slope faces
    zenith, sun = np.radians(90 - altitude), np.radians(azimuth)
    lit = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(sun - aspect)
    shaded: Gray = np.clip(lit, 0.0, 1.0).astype(np.float32)
    return shaded


def compute_difference_along(surface: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the height difference per pixel along an axis: central, or to the only neighbor with data."""
    surface = np.moveaxis(surface, axis, 0)
    step = np.full_like(surface[:1], np.nan)
    ahead = np.concatenate([np.diff(surface, axis=0), step])
    behind = np.concatenate([step, np.diff(surface, axis=0)])
    both = np.stack([ahead, behind])
    finite = np.isfinite(both)
    count = finite.sum(0)
    rise = np.where(finite, both, 0).sum(0) / np.maximum(count, 1)
    rise = np.where((count > 0) & np.isfinite(surface), rise, np.nan)
    return np.moveaxis(rise.astype(np.float32), 0, axis)


def make_color_ramp(count: int) -> NDArray[np.float64]:
    """Return the colors of a number of thresholds, (count, 3), 0 to 255."""
    return np.array([rgb_bytes(color) for color in threshold_colors(count)], np.float64)


def make_threshold_legend(thresholds: Sequence[float]) -> list[LegendEntry]:
    """Return the entries from the lowest threshold to the highest, then the canopy above it."""
    colors = threshold_colors(len(thresholds))
    below = ["0", *(f"{threshold:g}" for threshold in thresholds)]
    entries = [
        LegendEntry(f"below {high:g} m" if not n else f"{below[n]} to {high:g} m", colors[n]) for n, high in enumerate(thresholds)
    ]
    return [*entries, LegendEntry(f"{thresholds[-1]:g} m and more: no gap", CANOPY)]


def make_agreement_legend() -> list[LegendEntry]:
    return [
        LegendEntry(label, color, pattern)
        for (label, color), pattern in zip(AGREEMENT.items(), ("", "stripes", "dots"), strict=True)
    ]


def shade_gray(shade: Gray) -> NDArray[np.float64]:
    """Return the hillshade as a light gray picture, (rows, columns, 3), 0 to 255; uniform gray without data."""
    gray = np.where(np.isfinite(shade), 60 + 195 * np.clip(np.nan_to_num(shade) * 1.12, 0, 1), NO_DATA_RGB[0])
    return np.repeat(gray[..., None], 3, axis=2)


def blend_over(
    shade: Gray, colors: NDArray[np.float64], where: NDArray[np.bool_], *, strength: float = 0.78
) -> NDArray[np.float64]:
    """Return the hillshade with colors where the mask is true; the relief remains visible as light and dark."""
    base = shade_gray(shade)
    relief = 0.72 + 0.4 * np.clip(np.nan_to_num(shade, nan=0.7), 0, 1)[..., None]
    mixed = strength * np.clip(colors * relief, 0, 255) + (1 - strength) * base
    return np.where(where[..., None], mixed, base)


def draw_gaps(shade: Gray, gaps: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Picture:
    """Draw gaps over the hillshade; each pixel has the color of the lowest threshold at which it is a gap.

    Args:
        shade: Hillshade, (rows, columns).
        gaps: (K, rows, columns), thresholds ascending.
    """
    lowest = gaps.argmax(0)
    colors = make_color_ramp(len(gaps))[lowest]
    return convert_to_bytes(blend_over(shade, colors, gaps.any(0) & valid), valid)


def draw_agreement(shade: Gray, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Picture:
    """Draw true positives, false negatives (striped) and false positives (dotted) over the hillshade."""
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
    """Return the picture as bytes, gray where there is no data."""
    return np.where(valid[..., None], np.clip(np.rint(picture), 0, 255), NO_DATA_RGB).astype(np.uint8)


def enlarge(plane: NDArray[Value], factor: int) -> NDArray[Value]:
    """Enlarge each pixel to a square of `factor` pixels a side, along the last two axes."""
    return plane.repeat(factor, axis=-2).repeat(factor, axis=-1)


def encode_picture(picture: Picture, *, quality: int = 80) -> str:
    """Return a picture as a `data:` address in the format WebP."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@frozen(kw_only=True)
class ScaleBar:
    """A scale bar: its length as a part of the width of the picture, and its label."""

    part: float
    label: str


@frozen(kw_only=True)
class MarkedPlace:
    """A marked rectangle on a picture, in pixels of the picture."""

    name: str
    x: float
    y: float
    width: float
    height: float


@frozen(kw_only=True)
class FramedPicture:
    """A picture with its alternative text, caption, scale bar and marks."""

    data: str
    width: int
    height: int
    alt: str
    caption: str
    bar: ScaleBar | None = None
    places: tuple[MarkedPlace, ...] = ()


def make_scale_bar(width_m: float) -> ScaleBar:
    """Return a scale bar of the longest round length that is at most a third of the width."""
    power = 10.0 ** np.floor(np.log10(width_m / 3))
    length = next(power * factor for factor in (5, 2, 1) if power * factor <= width_m / 3)
    label = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    return ScaleBar(part=length / width_m, label=label)


def frame_picture(
    picture: Picture, places: Sequence[MarkedPlace] = (), *, width_m: float | None, alt: str, caption: str, quality: int = 80
) -> FramedPicture:
    """Return a picture for a page, with a scale bar if its width on the ground is given."""
    return FramedPicture(
        data=encode_picture(picture, quality=quality),
        width=picture.shape[1],
        height=picture.shape[0],
        alt=alt,
        caption=caption,
        bar=make_scale_bar(width_m) if width_m else None,
        places=tuple(places),
    )
