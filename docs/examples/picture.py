"""Draw a gap map beside its reference: python docs/examples/picture.py LANDSCAPE_FOLDER MAPS_FOLDER OUT.png

LANDSCAPE_FOLDER holds dsm.tif and chm.tif, as `forestgaps simulate` writes them; MAPS_FOLDER holds probabilities.tif, as
`forestgaps predict` writes it. A column per height threshold: the reference (CHM < threshold), the prediction, the differences.
"""

from __future__ import annotations

import io
import re
import sys
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LightSource, to_rgb
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch

from forestgaps_core.files.atomic import new_file
from forestgaps_core.output.palette import CANOPY, CONFUSION, GAP, NO_DATA, SHORT_AGREEMENT

GAP_COLORS = (CANOPY, GAP, NO_DATA)
ERROR_COLORS = (*CONFUSION, NO_DATA)  # by 2 * reference + predicted
LEGEND = {"gap": GAP, **SHORT_AGREEMENT}

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def read(path: Path) -> Plane:
    """The first band in meters, NaN without data."""
    with rasterio.open(path) as file:
        band: Plane = file.read(1, masked=True).filled(np.nan).astype(np.float32)
    return band


def read_probabilities(path: Path) -> tuple[list[float], Plane]:
    """Thresholds in meters, from the bands' descriptions, and (K, H, W) probabilities, NaN without data."""
    with rasterio.open(path) as file:
        thresholds = [float(re.findall(r"[\d.]+", text)[-1]) for text in file.descriptions]
        scales = np.asarray(file.scales, np.float32)[:, None, None]
        raw = file.read(masked=True).astype(np.float32) * scales
    probabilities: Plane = raw.filled(np.nan)
    return thresholds, probabilities


def iou(one: Mask, other: Mask) -> float:
    """Pixels in both over pixels in either; NaN where there are none."""
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else float("nan")


def bare(axes: Axes, title: str = "") -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def paint(axes: Axes, classes: NDArray[np.int_], colors: tuple[str, ...], title: str) -> None:
    # Colors before shrinking: shrinking class numbers would mix canopy and gap into a third class.
    axes.imshow(np.array([to_rgb(color) for color in colors])[classes])
    bare(axes, title)


def shaded(axes: Axes, dsm: Plane, resolution_m: float) -> None:
    filled = np.where(np.isfinite(dsm), dsm, np.nanmedian(dsm))
    light = LightSource(azdeg=315, altdeg=45).hillshade(filled, dx=resolution_m, dy=resolution_m)
    axes.imshow(np.where(np.isfinite(dsm), light, np.nan), cmap="gray", vmin=0, vmax=1)
    bare(axes, "Input: surface (DSM), shaded")


def draw_maps(figure: SubFigure, height: Plane, thresholds: list[float], probabilities: Plane) -> None:
    """A column per threshold: reference, prediction, comparison."""
    known = np.isfinite(height) & np.isfinite(probabilities).all(axis=0)
    panels = figure.subplots(3, len(thresholds), squeeze=False)
    for column, threshold, probability in zip(panels.T, thresholds, probabilities, strict=True):
        surveyed, predicted = (height < threshold) & known, (probability >= 0.5) & known
        share = surveyed.sum() / max(known.sum(), 1)
        errors = np.where(known, 2 * surveyed + predicted, len(CONFUSION))
        paint(column[0], np.where(known, surveyed, 2), GAP_COLORS, f"canopy below {threshold:g} m:\n{share:.0%} of the area")
        paint(column[1], np.where(known, predicted, 2), GAP_COLORS, "gaps mapped from the DSM")
        paint(column[2], errors, ERROR_COLORS, f"gap IoU {iou(predicted, surveyed):.2f}\n(baseline: {share:.2f})")
    for row, label in enumerate(("reference", "prediction", "comparison")):
        panels[row, 0].set_ylabel(label, fontsize=10)
    patches = [Patch(facecolor=color, edgecolor="#777777", linewidth=0.5, label=label) for label, color in LEGEND.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def reduced(drawn: io.BytesIO) -> io.BytesIO:
    """The PNG with 200 colors, a third of the size. Dithering would put dots into flat colors.

    Those of the comparison take few pixels. Bands with their mixtures, laid beside the picture, keep them among the 200.
    """
    with Image.open(drawn) as image:
        whole = image.convert("RGB")
    colors = 255 * np.array([to_rgb(color) for color in CONFUSION])
    steps = np.linspace(0, 1, 64)[:, None]
    mixtures = [(1 - steps) * one + steps * other for one, other in combinations(colors, 2)]
    plain = np.repeat(np.concatenate([colors, [[255, 255, 255]]]), 64, axis=0)
    heights = 255 * mpl.colormaps["Greens"](np.linspace(0, 1, 128))[:, :3]
    bands = np.concatenate([*mixtures, plain, heights]).round().astype(np.uint8)[None].repeat(whole.height // 2, axis=0)
    beside = Image.new("RGB", (whole.width + bands.shape[1], whole.height))
    beside.paste(whole)
    beside.paste(Image.fromarray(bands), (whole.width, 0))
    palette = beside.quantize(200, dither=Image.Dither.NONE)
    small = io.BytesIO()
    whole.quantize(palette=palette, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small


def draw(landscape: Path, maps: Path, out: Path) -> None:
    with rasterio.open(landscape / "dsm.tif") as file:
        resolution_m = abs(file.transform.a)
    dsm, height = read(landscape / "dsm.tif"), read(landscape / "chm.tif")
    thresholds, probabilities = read_probabilities(maps / "probabilities.tif")
    if probabilities.shape[1:] != height.shape:
        raise SystemExit(f"{maps} has {probabilities.shape[1:]} pixels, {landscape} has {height.shape}: maps of another DSM?")
    figure = plt.figure(figsize=(max(2.15 * len(thresholds), 7), 11), layout="constrained")
    top, below = figure.subfigures(2, 1, height_ratios=[1, 1.75], squeeze=False).ravel()
    left, right = top.subplots(1, 2)
    shaded(left, dsm, resolution_m)
    shown = right.imshow(height, cmap="Greens", vmin=0, vmax=float(np.nanpercentile(height, 99)))
    bare(right, "Reference: canopy height (CHM)")
    top.colorbar(shown, ax=right, label="meters above ground", shrink=0.8)
    draw_maps(below, height, thresholds, probabilities)
    kind = out.suffix.lstrip(".") or "png"
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=100)
    plt.close(figure)
    if kind == "png":
        drawn = reduced(drawn)
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_file(out, needed=drawn.tell()) as file:  # whole, or not at all
        file.write(drawn.getbuffer())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    draw(*map(Path, sys.argv[1:]))
    print(f"Written: {sys.argv[3]}")
