"""How the simulated landscapes compare with real ones: heights, roughness, gap sizes, slopes.

    python benchmarks/landscape_realism.py --data FOLDER --out docs/assets

FOLDER holds one folder a site, with `chm.tif` and, where there are, `dsm.tif` and `dtm.tif` (meters, nodata set). All are brought
to 1 m: block maximum for a surface, block mean for a ground. Writes `landscapes.png` (curves of each site, no raster),
`landscape_examples.png` (simulated landscapes only) and prints a table. Needs rasterio, scipy, matplotlib.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from attrs import frozen
from matplotlib import pyplot as plt
from matplotlib.colors import LightSource
from PIL import Image
from scipy import ndimage

from forestgaps_landscapes.data import Landscapes
from forestgaps_landscapes.simulation.landscape import Landscape, simulate
from forestgaps_landscapes.simulation.variety import FORESTS, sample_settings

Array = Any  # numpy arrays of floats, NaN where there is no data
LAGS_M = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
FRACTIONS = np.linspace(0.5, 99.5, 100)  # percent
SMALLEST_GAP_M2 = 10.0
LEAST_SIDE_M = 100  # smaller sites tell little about stands and gaps


@frozen(eq=False)
class Site:
    """What is known of a place at 1 m: canopy height, and ground where there is one."""

    name: str
    height: Array
    ground: Array | None


def read(path: Path) -> tuple[Array, float]:
    with rasterio.open(path) as raster:
        return raster.read(1, masked=True).astype(float).filled(np.nan), raster.res[0]


def coarser(band: Array, resolution_m: float, over_block: Callable[..., Array]) -> Array:
    """Blocks of so many pixels as 1 m holds; a block with any pixel missing is missing."""
    n = round(1 / resolution_m)
    rows, columns = (side // n * n for side in band.shape)
    return over_block(band[:rows, :columns].reshape(rows // n, n, columns // n, n), axis=(1, 3))


def real_sites(folder: Path) -> list[Site]:
    sites = []
    for path in sorted(folder.glob("*/chm.tif")):
        chm, resolution = read(path)
        height, ground = coarser(chm, resolution, np.max), None
        if (path.parent / "dsm.tif").exists():
            ground = coarser(read(path.parent / "dtm.tif")[0], resolution, np.mean)
            height = coarser(read(path.parent / "dsm.tif")[0], resolution, np.max) - ground
        if min(height.shape) >= LEAST_SIDE_M:
            sites.append(Site(path.parent.name, height, ground))
    return sites


def simulated_sites(count: int) -> list[Site]:
    data = Landscapes(train=count, size_px=384)
    stack = data.landscapes("train")
    bands = [torch.where(stack.valid, band, torch.nan).double().numpy() for band in (stack.height, stack.dsm - stack.height)]
    return [Site(f"simulated {k}", height, ground) for k, (height, ground) in enumerate(zip(*bands, strict=True))]


def smooth(band: Array) -> Array:
    """Mean of what is known in 3 x 3 m, NaN where the middle is not."""
    finite = np.isfinite(band)
    fraction = ndimage.uniform_filter(finite.astype(float), 3)
    return np.where(finite, ndimage.uniform_filter(np.where(finite, band, 0.0), 3) / np.maximum(fraction, 1e-9), np.nan)


def roughness(height: Array) -> float:
    """Standard deviation of the canopy about its mean over 3 m, meters."""
    return float(np.nanstd(height - smooth(height)))


def semivariogram(height: Array) -> Array:
    """Half the mean squared difference over each lag, along rows and columns, square meters."""
    squares = [
        np.nanmean(np.concatenate([(height[:, lag:] - height[:, :-lag]).ravel() ** 2, (height[lag:] - height[:-lag]).ravel() ** 2]))
        for lag in LAGS_M
    ]
    return np.array(squares) / 2


def gap_areas(height: Array, threshold: float) -> Array:
    """Areas of connected places below the threshold (8 neighbors), from the smallest that counts, square meters."""
    labels, _ = ndimage.label(height < threshold, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    return areas[areas >= SMALLEST_GAP_M2].astype(float)


def exponent(areas: Array) -> float:
    """Maximum likelihood of a continuous power law from the smallest area on; NaN from fewer than 20 gaps.

    Source: Clauset et al. 2009, eq. 3.1, with half a pixel's correction for whole areas, doi 10.1137/070710111
    """
    return 1 + len(areas) / np.log(areas / (SMALLEST_GAP_M2 - 0.5)).sum() if len(areas) >= 20 else math.nan


def slopes(ground: Array) -> Array:
    """Degrees, of the ground smoothed over 3 m."""
    steep = np.degrees(np.arctan(np.hypot(*np.gradient(smooth(ground)))))
    return np.nanpercentile(steep, FRACTIONS)


def figures_of(site: Site) -> dict[str, Any]:
    return {
        "heights": np.nanpercentile(site.height, FRACTIONS),
        "roughness": roughness(site.height),
        "variogram": semivariogram(site.height),
        "gaps": {t: gap_areas(site.height, t) for t in (5, 10)},
        "fraction": {t: float((site.height < t).sum() / np.isfinite(site.height).sum()) for t in (2, 5, 10, 20)},
        "slopes": None if site.ground is None else slopes(site.ground),
    }


def row(name: str, figures: Mapping[str, Any]) -> str:
    steep = "    -    -" if figures["slopes"] is None else f"{at(figures['slopes'], 50):5.0f}{at(figures['slopes'], 95):5.0f}"
    heights = "".join(f"{at(figures['heights'], fraction):6.1f}" for fraction in (5, 50, 95))
    fraction = "".join(f"{figures['fraction'][t]:5.2f}" for t in (2, 5, 10, 20))
    variogram = "".join(f"{math.sqrt(figures['variogram'][LAGS_M.index(lag)]):5.1f}" for lag in (1, 4, 16))
    power = "".join(f"{exponent(figures['gaps'][t]):6.2f}" for t in (5, 10))
    return f"{name:22s}{heights} |{fraction} |{figures['roughness']:5.2f} |{variogram} |{power} |{steep}"


def at(curve: Array, fraction: float) -> float:
    return float(np.interp(fraction, FRACTIONS, curve))


def summary(groups: list[list[dict[str, Any]]]) -> str:
    """A table for people: the middle site and, in brackets, the lowest and the highest."""
    panels: Mapping[str, Callable[[dict[str, Any]], float]] = {
        "median height, m": lambda f: at(f["heights"], 50),
        "95th percentile of height, m": lambda f: at(f["heights"], 95),
        "gap fraction at 5 m": lambda f: f["fraction"][5],
        "roughness within 3 m, m": lambda f: f["roughness"],
        "square root of the semivariance at 4 m, m": lambda f: math.sqrt(f["variogram"][LAGS_M.index(4)]),
        "the same at 16 m, m": lambda f: math.sqrt(f["variogram"][LAGS_M.index(16)]),
        "median slope, degrees": lambda f: math.nan if f["slopes"] is None else at(f["slopes"], 50),
    }
    lines = ["| middle (lowest to highest) | real sites | simulated |", "|---|---|---|"]
    for name, value in panels.items():
        cells = []
        for group in groups:
            values = np.array([value(f) for f in group])
            cells.append(f"{np.nanmedian(values):.2g} ({np.nanmin(values):.2g} to {np.nanmax(values):.2g})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for threshold in (5, 10):
        pooled = [exponent(np.concatenate([f["gaps"][threshold] for f in group])) for group in groups]
        lines.append(f"| exponent of gap areas below {threshold} m, pooled | {' | '.join(f'{value:.2f}' for value in pooled)} |")
    return "\n".join(lines)


HEADER = f"{'':22s}  height p5 50 95  | gap fraction 2 5 10 20 |rough|sqrt sv 1 4 16m|exp. 5 10m|slope 50 95"


def saved(figure: plt.Figure, path: Path, *, dpi: int) -> None:
    """Write the picture in 256 colors: a third of the bytes."""
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def draw_panels(real: list[dict[str, Any]], simulated: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    groups = ((simulated, "#d95f02", 0.25, "simulated"), (real, "#1b3a4b", 0.8, "real site"))
    for sites, color, alpha, label in groups:
        style = {"color": color, "alpha": alpha, "linewidth": 1.0}
        for n, f in enumerate(sites):
            only_once = {"label": label} if n == 0 else {}
            axes[0, 0].plot(f["heights"], FRACTIONS / 100, **style, **only_once)
            axes[0, 1].plot(LAGS_M, np.sqrt(f["variogram"]), **style)
            if f["slopes"] is not None:
                axes[1, 2].plot(f["slopes"], FRACTIONS / 100, **style)
        axes[0, 2].scatter(
            [f["heights"][-5] for f in sites], [f["roughness"] for f in sites], color=color, alpha=max(alpha, 0.5), s=18
        )
        for axis, threshold in ((axes[1, 0], 5), (axes[1, 1], 10)):
            for f in sites:
                areas = np.sort(f["gaps"][threshold])
                if len(areas) >= 20:
                    axis.plot(areas, 1 - np.arange(len(areas)) / len(areas), **style)
            pooled = np.concatenate([f["gaps"][threshold] for f in sites])
            axis.plot([], [], color=color, label=f"{label}: exponent {exponent(pooled):.2f}")
    panels = (
        ("Canopy height", "height, m", "fraction of the area below", "linear"),
        ("Texture: semivariogram", "distance, m", "square root of the semivariance, m", "log"),
        ("Roughness within 3 m", "95th percentile of height, m", "standard deviation, m", "linear"),
        ("Gaps below 5 m", "area, m²", "fraction of gaps at least so large", "loglog"),
        ("Gaps below 10 m", "area, m²", "fraction of gaps at least so large", "loglog"),
        ("Slope of the ground", "slope, degrees", "fraction of the area below", "linear"),
    )
    for axis, (title, x, y, scale) in zip(axes.flat, panels, strict=True):
        axis.set(title=title, xlabel=x, ylabel=y, xscale="linear" if scale == "linear" else "log")
        axis.set_yscale("log" if scale == "loglog" else "linear")
        axis.grid(alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in (axes[0, 0], axes[1, 0], axes[1, 1]):
        axis.legend(frameon=False, fontsize=8)
    saved(figure, path, dpi=90)


def drawn_examples(path: Path, resolution_m: float = 1.0, size: int = 256) -> None:
    """One landscape of each kind of forest: the surface as a sensor sees it, and the height above ground."""
    figure, axes = plt.subplots(2, len(FORESTS), figsize=(12, 4.9), layout="constrained")
    light = LightSource(azdeg=315, altdeg=45)
    image = None
    for seed, (axis, forest) in enumerate(zip(axes.T, FORESTS, strict=True)):
        made: Landscape = simulate(seed, size, resolution_m, sample_settings(seed, forest, (8.0, 45.0), (0.05, 0.15)))
        shade = light.hillshade(made.dsm.numpy(), dx=resolution_m, dy=resolution_m)
        axis[0].imshow(np.where(made.valid, shade, np.nan), cmap="gray", vmin=0, vmax=1)
        axis[0].set_title(forest)
        image = axis[1].imshow(np.where(made.valid, made.height, np.nan), cmap="viridis", vmin=0, vmax=35)
    for axis, label in zip(axes[:, 0], ("surface (DSM), shaded", "canopy height (CHM)"), strict=True):
        axis.set_ylabel(label)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes[1], label="m", shrink=0.8, pad=0.01)
    saved(figure, path, dpi=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real sites")
    parser.add_argument("--out", type=Path, default=Path("docs/assets"), help="folder of the pictures")
    parser.add_argument("--count", type=int, default=40, help="simulated landscapes")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(HEADER)
    groups = []
    for sites in (real_sites(arguments.data), simulated_sites(arguments.count)):
        figures = [figures_of(site) for site in sites]
        print("\n".join(row(site.name, f) for site, f in zip(sites, figures, strict=True)))
        groups.append(figures)
    print(summary(groups))
    draw_panels(*groups, arguments.out / "landscapes.png")
    drawn_examples(arguments.out / "landscape_examples.png")
    print("\n".join(f"wrote {arguments.out / name}" for name in ("landscapes.png", "landscape_examples.png")))


if __name__ == "__main__":
    main()
