"""The colors of all pictures, pages and map styles. Each color has one meaning.

Agreement of map and reference takes colors of Okabe & Ito (2008, jfly.uni-koeln.de/color), the purple a little darker, so that
all classes also differ in lightness and can be distinguished with any color vision. Thresholds and probabilities run along viridis
(van der Walt & Smith 2015, bids.github.io/colormap), which rises in lightness.
"""

from __future__ import annotations

NO_DATA = "#ffffff"
CANOPY = "#d9d9d9"  # canopy in map and reference (true negative), or in the one that is drawn
GAP = "#4d4d4d"  # gap, in a picture of one map
TRUE_POSITIVE = "#0072b2"  # blue
FALSE_NEGATIVE = "#e69f00"  # orange
FALSE_POSITIVE = "#c56f9f"  # purple

AGREEMENT = {
    "true positive (gap in map and reference)": TRUE_POSITIVE,
    "false negative (omission: gap in the reference only)": FALSE_NEGATIVE,
    "false positive (commission: gap in the map only)": FALSE_POSITIVE,
}
SHORT_AGREEMENT = {
    "true positive": TRUE_POSITIVE,
    "false negative (omission)": FALSE_NEGATIVE,
    "false positive (commission)": FALSE_POSITIVE,
    "true negative (canopy)": CANOPY,
}
CONFUSION = (CANOPY, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_POSITIVE)  # by 2 * reference + predicted

VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")  # at eight even steps


def rgb_bytes(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of a color such as #e69f00."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def rgb_fractions(color: str) -> tuple[float, float, float]:
    """Return red, green and blue, 0 to 1."""
    red, green, blue = rgb_bytes(color)
    return red / 255, green / 255, blue / 255


def viridis_color(share: float) -> str:
    """Return the color at a share of the way from dark purple (0) to yellow (1)."""
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    first = min(int(place), len(VIRIDIS) - 2)
    pairs = zip(rgb_bytes(VIRIDIS[first]), rgb_bytes(VIRIDIS[first + 1]), strict=True)
    return "#" + "".join(f"{round(one + (place - first) * (other - one)):02x}" for one, other in pairs)


def threshold_colors(count: int) -> list[str]:
    """Return the colors of gaps at so many height thresholds, ascending: the lowest is the brightest."""
    return [viridis_color(1 - number / max(count - 1, 1)) for number in range(count)]
