"""The pixel size that gives the better map: the DSM's own, or that of the network's training.

    python benchmarks/pixel_sizes.py --data FOLDER [--network pretrained] [--sizes 0.5 0.25 0.1 2 5]

FOLDER holds one folder a site with dsm.tif and chm.tif; those of 0.5 m are taken. Every map is evaluated at the pixel size of the
DSM that it is made of, against the CHM of that pixel size: a map of 1 m pixels is enlarged to it, as a person sees it who lays it
over the DSM. Other pixel sizes than 0.5 m are made of the same sites: finer ones by interpolation, which adds no detail, coarser
ones by the highest value (DSM) and the mean (terrain).

    native      the DSM at its own pixel size, as `forestgaps predict` maps it
    as trained  the same, by a network that counts in pixels whatever their size
    resampled   the DSM brought to the pixel size of the training first, as by `--resample`

Mean IoU is the mean of gap IoU and canopy IoU. Thresholds with under 1 % or over 95 % gap are left out. Of a site in HALF only the
southern half is evaluated, for the network was trained on the northern one. Names that end in _uav are drone photogrammetry.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from forestgaps_core import load_predictor
from forestgaps_core.inference.predictor import Predictor
from forestgaps_pretrained.scores import mean_iou
from forestgaps_rasters.prediction.pixel_sizes import fit_to_pixels
from forestgaps_rasters.sources.resampling import aggregate_pixels

THRESHOLDS = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
SITE_M = 0.5
HALF = ("nz_westport",)
LARGEST = {0.5: 1200, 0.25: 600, 0.1: 300}  # pixels of 0.5 m of a side that are used, of a pixel size
PREVALENCE = (0.01, 0.95)

Plane = NDArray[np.float32]


def site_planes(folder: Path) -> tuple[Plane, Plane] | None:
    """DSM and CHM with NaN where there is no data; None for a site of another pixel size."""
    planes = []
    for layer in ("dsm", "chm"):
        with rasterio.open(folder / f"{layer}.tif") as raster:
            if abs(raster.res[0] - SITE_M) > 1e-3:
                return None
            planes.append(raster.read(1, masked=True).astype(np.float32).filled(np.nan))
    return planes[0], planes[1]


def at_pixel_size(dsm: Plane, chm: Plane, size: float) -> tuple[Plane, Plane]:
    side, k = LARGEST.get(size, 10**9), round(size / SITE_M)
    multiple = max(2, k)
    rows, columns = (min(length, side) // multiple * multiple for length in dsm.shape)
    dsm, chm = dsm[-rows:, -columns:], chm[-rows:, -columns:]
    if size == SITE_M:
        return dsm, chm
    if size < SITE_M:
        return finer(dsm, round(SITE_M / size)), finer(chm, round(SITE_M / size))
    top = aggregate_pixels(dsm, k, "maximum")
    return top, top - aggregate_pixels(dsm - chm, k, "mean")


def finer(plane: Plane, k: int) -> Plane:
    finite = np.isfinite(plane)
    filled = torch.from_numpy(np.where(finite, plane, np.nanmedian(plane)))[None, None]
    out: Plane = interpolate(filled, scale_factor=k, mode="bilinear", align_corners=False)[0, 0].numpy()
    out[~finite.repeat(k, 0).repeat(k, 1)] = np.nan
    return out


def mapped(network: Predictor, dsm: Plane) -> NDArray[np.bool_]:
    valid = np.isfinite(dsm)
    surface = torch.from_numpy(np.where(valid, dsm, 0))[None, None]
    found: NDArray[np.bool_] = network(surface, torch.from_numpy(valid)[None, None], THRESHOLDS)[0].numpy() >= 0.5
    return found


def maps(network: Predictor, dsm: Plane, size: float) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    fitted = fit_to_pixels(network, size)
    yield "native", mapped(fitted, dsm)  # type: ignore[arg-type]  # a predictor of the core is one of forestgaps-rasters
    if fitted is not network:
        yield "as trained", mapped(network, dsm)
    k = round(network.resolution_m / size)
    if k > 1:
        rows, columns = (length // k * k for length in dsm.shape)
        coarse = mapped(network, aggregate_pixels(dsm[:rows, :columns], k, "maximum")).repeat(k, 1).repeat(k, 2)
        whole = np.zeros((len(THRESHOLDS), *dsm.shape), np.bool_)
        whole[:, :rows, :columns] = coarse
        yield "resampled", whole


def evaluated(network: Predictor, folder: Path, planes: tuple[Plane, Plane], size: float) -> Iterator[tuple[float, str, float]]:
    """Threshold, method and mean IoU."""
    dsm, chm = at_pixel_size(*planes, size)
    valid = np.isfinite(dsm) & np.isfinite(chm)
    if folder.name in HALF:
        valid[: len(valid) // 2] = False
    found = dict(maps(network, dsm, size))
    for plane, threshold in enumerate(THRESHOLDS):
        truth = chm[valid] < threshold
        if PREVALENCE[0] <= truth.mean() <= PREVALENCE[1]:
            for method, gaps in found.items():
                yield threshold, method, mean_iou(gaps[plane][valid], truth)


def table(scores: Mapping[str, Mapping[float, Mapping[str, float]]]) -> str:
    """Markdown: a row for each site, in each cell the scores of the methods."""
    methods = list(dict.fromkeys(method for row in scores.values() for cell in row.values() for method in cell))
    used = [t for t in THRESHOLDS if any(t in row for row in scores.values())]
    lines = [f"| {', '.join(methods)} | {' | '.join(f'{t:g} m' for t in used)} |", "|---" * (1 + len(used)) + "|"]
    for site, row in scores.items():
        cells = [" ".join(f"{row[t][m]:.3f}" for m in methods) if t in row else "" for t in used]
        lines.append(f"| {site} | {' | '.join(cells)} |")
    means = [np.mean([cell[m] for row in scores.values() for cell in row.values()]) for m in methods]
    pairs = sum(len(row) for row in scores.values())
    best = sum(cell["native"] >= max(cell.values()) for row in scores.values() for cell in row.values())
    means_text = ", ".join(f"{method} {mean:.3f}" for method, mean in zip(methods, means, strict=True))
    return "\n".join([*lines, "", f"Mean over {pairs} pairs of site and threshold: {means_text}. Native is best at {best}."])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sites")
    parser.add_argument("--network", default="pretrained", help="run folder, checkpoint, model folder or name of a network")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 0.25, 0.1, 2.0, 5.0], metavar="METERS")
    given = parser.parse_args(arguments)
    network = load_predictor(given.network, device="cpu")
    folders = [path for path in sorted(given.data.iterdir()) if (path / "dsm.tif").is_file() and (path / "chm.tif").is_file()]
    sites = {path: planes for path in folders if (planes := site_planes(path)) is not None}
    for size in given.sizes:
        scores: dict[str, dict[float, dict[str, float]]] = {}
        for folder, planes in sites.items():
            row: dict[float, dict[str, float]] = defaultdict(dict)
            for threshold, method, score in evaluated(network, folder, planes, size):
                row[threshold][method] = score
            scores[folder.name] = row
        print(f"\n## {size:g} m\n\n{table(scores)}", flush=True)


if __name__ == "__main__":
    main()
