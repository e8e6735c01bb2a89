"""Do colors help? Gap maps from a DSM of drone photogrammetry with and without its orthophoto as a further input layer.

    python benchmarks/color_layers.py SITE [--seeds 3] [--steps 400]

SITE is a folder with dsm.tif, chm.tif, rgb.tif and ground_dist.tif on one grid. The site is cut into squares, which make four
folds. For each fold a small network is trained on the others, 30 m away from the squares of the fold, and maps them. All else is
the same with and without colors: windows, augmentation, steps, rate, seeds. Scores are the mean of the IoU of gap and of canopy,
pooled over all squares, so that each pixel counts once, and only where the nearest seen ground is at most 20 m away: elsewhere the
heights are a guess themselves.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from forestgaps_augmentations import FlipRotate, Tilt
from forestgaps_core import BatchMaker, InputLayer, Thresholds, Tiles
from forestgaps_core.inference.input_layers import call_network
from forestgaps_core.runtime.rng import random_numbers
from forestgaps_models.unet import HeightUNet

THRESHOLDS = (2.0, 5.0)
SQUARES = 6  # to a side of the site
FOLDS = 4
BUFFER = 30  # pixels of 1 m
TILE, BATCH = 64, 8
MARGIN = 64  # pixels around a square that the network sees too
NEAR_GROUND_M = 20.0


def read_site(folder: Path) -> dict[str, NDArray[Any]]:
    site = {}
    for name in ("dsm", "chm", "rgb", "ground_dist"):
        with rasterio.open(folder / f"{name}.tif") as raster:
            site[name] = raster.read(masked=True).astype(np.float32).filled(np.nan if name != "rgb" else 0.0)
    return site


def list_squares(rows: int, columns: int) -> list[tuple[int, tuple[slice, slice]]]:
    """The fold of each square, and its rows and columns. Neighbors are of different folds."""
    down, right = (np.linspace(0, size, SQUARES + 1).astype(int) for size in (rows, columns))
    return [
        ((i + 2 * j + j // 2) % FOLDS, (slice(down[i], down[i + 1]), slice(right[j], right[j + 1])))
        for i in range(SQUARES)
        for j in range(SQUARES)
    ]


def make_tiles(planes: dict[str, Tensor], corners: list[tuple[int, int]], draw: Tensor, *, colors: bool) -> Tiles:
    cut = {name: torch.stack([plane[:, y : y + TILE, x : x + TILE] for y, x in corners]) for name, plane in planes.items()}
    layers = {"rgb": cut["rgb"]} if colors else {}
    return Tiles(cut["dsm"], cut["height"], cut["valid"], torch.arange(len(corners)), draw, layers)


def train(planes: dict[str, Tensor], seed: int, steps: int, *, colors: bool) -> nn.Module:
    torch.manual_seed(seed)
    known = planes["rgb"][:, planes["valid"][0]]
    layers = {"rgb": InputLayer(mean=tuple(known.mean(1).tolist()), std=tuple(known.std(1).tolist()))} if colors else {}
    network = HeightUNet(base=8, depth=3).build(nn.BatchNorm2d, 1.0, layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    make_batch = BatchMaker(
        thresholds=Thresholds(values=THRESHOLDS), augmentations=[FlipRotate().build(), Tilt().build(resolution_m=1.0)]
    )
    windows = np.random.default_rng(seed)  # the same with and without colors
    rows, columns = planes["valid"].shape[-2:]
    for step in range(steps):
        corners: list[tuple[int, int]] = []
        while len(corners) < BATCH:
            y, x = int(windows.integers(rows - TILE)), int(windows.integers(columns - TILE))
            if planes["valid"][0, y : y + TILE, x : x + TILE].float().mean() > 0.4:
                corners.append((y, x))
        batch = make_batch(make_tiles(planes, corners, random_numbers(seed, step, torch.arange(BATCH)), colors=colors))
        losses = binary_cross_entropy_with_logits(call_network(network, batch), batch.target, reduction="none")
        loss = (losses * batch.valid).sum() / (batch.valid.sum() * len(THRESHOLDS)).clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
    return network.eval()


@torch.no_grad()
def map_square(network: nn.Module, planes: dict[str, Tensor], square: tuple[slice, slice], *, colors: bool) -> NDArray[np.bool_]:
    """Gaps (K, h, w) of a square."""
    (down, right), (rows, columns) = square, planes["valid"].shape[-2:]
    top, left = max(down.start - MARGIN, 0), max(right.start - MARGIN, 0)
    around = slice(top, min(down.stop + MARGIN, rows)), slice(left, min(right.stop + MARGIN, columns))
    one = {name: plane[None, :, *around] for name, plane in planes.items()}
    layers = {"rgb": one["rgb"]} if colors else {}
    tiles = Tiles(one["dsm"], one["height"], one["valid"], torch.zeros(1).long(), torch.zeros(1).long(), layers)
    logits = call_network(network, BatchMaker(thresholds=Thresholds(values=THRESHOLDS))(tiles))
    inside = slice(down.start - top, down.stop - top), slice(right.start - left, right.stop - left)
    return (logits[0, :, *inside] > 0).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    site = read_site(arguments.site)
    valid = np.isfinite(site["dsm"]) & np.isfinite(site["chm"])
    planes = {"dsm": site["dsm"], "height": site["chm"], "rgb": site["rgb"], "valid": valid}
    tensors = {name: torch.from_numpy(plane) for name, plane in planes.items()}
    squares = list_squares(*valid.shape[-2:])
    scored = valid[0] & (site["ground_dist"][0] <= NEAR_GROUND_M)
    surveyed = np.stack([site["chm"][0] < threshold for threshold in THRESHOLDS])
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for fold in range(FOLDS):
            away = valid.copy()
            for place, (down, right) in squares:
                if place == fold:
                    top, left = max(down.start - BUFFER, 0), max(right.start - BUFFER, 0)
                    away[:, top : down.stop + BUFFER, left : right.stop + BUFFER] = False
            for colors in (False, True):
                begun = time.process_time()
                network = train({**tensors, "valid": torch.from_numpy(away)}, seed, arguments.steps, colors=colors)
                counts = np.zeros((len(THRESHOLDS), 2, 2), np.int64)  # threshold, predicted, surveyed
                for place, square in squares:
                    if place == fold and scored[square].any():
                        mapped = map_square(network, tensors, square, colors=colors)
                        for k in range(len(THRESHOLDS)):
                            one, other = mapped[k][scored[square]], surveyed[k][square][scored[square]]
                            counts[k] += np.histogram2d(one, other, bins=2, range=((0, 2), (0, 2)))[0].astype(np.int64)
                row = {"seed": seed, "fold": fold, "colors": colors, "counts": counts.tolist()}
                rows.append({**row, "seconds": time.process_time() - begun})
                print(json.dumps({**row, "iou": [round(iou(one), 4) for one in counts]}), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows))
    print_table(rows)


def iou(counts: NDArray[np.int64]) -> float:
    """Mean of the IoU of gap and of canopy; counts by (predicted, surveyed)."""
    wrong = counts[1, 0] + counts[0, 1]
    return float(np.mean([counts[k, k] / max(counts[k, k] + wrong, 1) for k in range(2)]))


def print_table(rows: list[dict[str, Any]]) -> None:
    seeds = sorted({row["seed"] for row in rows})
    print("| mean IoU, pooled over folds | " + " | ".join(f"{t:g} m" for t in THRESHOLDS) + " |\n|---|---|---|")
    scores = {
        colors: np.array(
            [
                [iou(sum(np.array(r["counts"])[k] for r in rows if (r["seed"], r["colors"]) == (seed, colors))) for seed in seeds]
                for k in range(len(THRESHOLDS))
            ]
        )
        for colors in (False, True)
    }
    for words, values in (("DSM", scores[False]), ("DSM and colors", scores[True]), ("difference", scores[True] - scores[False])):
        cells = [f"{one.mean():.3f} ({one.min():.3f} to {one.max():.3f})" for one in values]
        print(f"| {words} | " + " | ".join(cells) + " |")
    for k, threshold in enumerate(THRESHOLDS):
        of = {(r["seed"], r["fold"], r["colors"]): iou(np.array(r["counts"])[k]) for r in rows}
        pairs = [of[s, f, True] - of[s, f, False] for s, f, c in of if c]
        better = sum(pair > 0 for pair in pairs)
        print(f"{threshold:g} m: better with colors in {better} of {len(pairs)} pairs; {min(pairs):+.3f} to {max(pairs):+.3f}")


if __name__ == "__main__":
    main()
