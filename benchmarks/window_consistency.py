"""How much a probability depends on where the window of the network ends: what margin a map needs.

    python benchmarks/window_consistency.py RUN DSM.tif [--picture docs/explanation/window-consistency.svg]

A raster is mapped in one piece, then in windows of other sizes and offsets; for each distance from the edge of a window, away from
the raster's own edge, the largest and the 99.9th percentile of the differences in probability are printed. Windows begin at
multiples of 64 pixels, as those of `forestgaps predict` do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core import load_predictor
from forestgaps_core.inference.predictor import Predictor

STRIDE = 64
WINDOWS = (256, 384, 512, 640)
THRESHOLDS = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
BORDERS = (0, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256)


def surface_of(path: Path, most: int) -> tuple[Tensor, Tensor]:
    with rasterio.open(path) as raster:
        band = raster.read(1, masked=True)[:most, :most]
    valid = ~np.ma.getmaskarray(band) & np.isfinite(band.filled(np.nan))
    return torch.from_numpy(np.where(valid, band.filled(0), 0).astype(np.float32))[None, None], torch.from_numpy(valid)[None, None]


def distances(start: int, size: int, whole: int) -> NDArray[np.int64]:
    """Of each pixel of a window to its ends, those at the raster's own edge left out."""
    place = np.arange(size)
    before = place if start > 0 else np.full(size, whole)
    after = size - 1 - place if start + size < whole else np.full(size, whole)
    return np.minimum(before, after)


def differences(network: Predictor, dsm: Tensor, valid: Tensor) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Distance to the window's edge and largest difference over the thresholds, of every valid pixel of every window."""
    rows, columns = dsm.shape[-2:]
    whole = network(dsm, valid, THRESHOLDS)[0].numpy()
    for size in WINDOWS:
        for row in {*range(0, rows - size, 3 * STRIDE), (rows - size) // STRIDE * STRIDE}:
            for column in {*range(0, columns - size, 3 * STRIDE), (columns - size) // STRIDE * STRIDE}:
                if row < 0 or column < 0:
                    continue
                part = np.s_[..., row : row + size, column : column + size]
                found = network(dsm[part], valid[part], THRESHOLDS)[0].numpy()
                difference = np.abs(found - whole[part]).max(axis=0)
                near = np.minimum(distances(row, size, rows)[:, None], distances(column, size, columns)[None, :])
                known = valid[part][0, 0].numpy()
                yield near[known], difference[known]


def picture(path: Path, rows: list[tuple[int, float, float]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    meters = [row[0] for row in rows]
    axes.plot(meters, [row[1] for row in rows], "o-", color="#0072B2", label="largest")
    axes.plot(meters, [row[2] for row in rows], "s--", color="#D55E00", label="99.9 % of pixels below")
    axes.axhline(0.02, color="#555555", linewidth=1)
    axes.annotate("0.02", (meters[-1], 0.02), textcoords="offset points", xytext=(0, 4), ha="right")
    axes.set(xlabel="distance from the edge of the window, m", ylabel="difference in probability", ylim=(0, None), xlim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder, checkpoint, model folder or name of a network")
    parser.add_argument("dsm", type=Path)
    parser.add_argument("--most", type=int, default=1024, help="pixels of a side of the raster that are used")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    network = load_predictor(arguments.run)
    dsm, valid = surface_of(arguments.dsm, arguments.most)
    near, difference = (np.concatenate(parts) for parts in zip(*differences(network, dsm, valid), strict=True))
    rows = []
    print("| distance from the edge, m | largest difference | 99.9th percentile |\n|---|---|---|")
    for low, high in zip(BORDERS, (*BORDERS[1:], 10**9), strict=True):
        inside = difference[(near >= low) & (near < high)]
        if inside.size:
            rows.append((low * network.resolution_m, float(inside.max()), float(np.quantile(inside, 0.999))))
            print(f"| {rows[-1][0]:g} | {rows[-1][1]:.4f} | {rows[-1][2]:.4f} |")
    if arguments.picture:
        picture(arguments.picture, rows)


if __name__ == "__main__":
    main()
