"""What `forestgaps predict` needs for a large raster beside the network: memory, and time.

A raster of 30,000 x 30,000 pixels of random terrain is mapped, in a process of its own, with a network that does next to nothing:
the time is nearly all reading, blending and writing. Peak resident memory of the process and of its children; goal: below 2 GiB.

`--size` is the side of the raster in pixels, `--workers` as in the command. Needs about 7 bytes of disk a pixel and threshold below
`--folder`. What `predict` takes beside real networks is in `predict_speed.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

THRESHOLDS = (2.0, 5.0, 10.0)
STRIP = 512  # rows written at once


class Constant(nn.Module):
    """A gap is where the surface lies below 400 m: no time, no context."""

    monotone = True

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return (thresholds[:, :, None, None] - (dsm - 400)) / 3


def terrain(path: Path, size: int, rows: int | None = None) -> None:
    """Hills with a noisy canopy, some of it unsurveyed, in a tiled, compressed GeoTIFF, strip by strip; square by default."""
    rows = rows or size
    random = np.random.default_rng(0)
    x = np.arange(size, dtype=np.float32)
    hills = 8 * np.sin(x / 700)
    canopy: NDArray[np.float32] = random.gamma(2.0, 4.0, (STRIP, size)).astype(np.float32)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": -9999, "crs": "EPSG:32610", "BIGTIFF": "YES"}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1}
    corner = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000)
    with rasterio.open(path, "w", height=rows, width=size, transform=corner, **profile, **tiles) as file:
        for row in range(0, rows, STRIP):
            count = min(STRIP, rows - row)
            y = np.arange(row, row + count, dtype=np.float32)[:, None]
            values = np.round(396 + hills + 6 * np.cos(y / 900) + np.roll(canopy, 37 * (row // STRIP), axis=1)[:count], 1)
            values[:, size // 3 : size // 3 + 200] = -9999
            file.write(values, 1, window=rasterio.windows.Window(0, row, size, count))


def network_of(name: str) -> nn.Module:
    """A network of the installed packages with its default settings and weights that nothing was learned with."""
    from forestgaps_core.kinds import build
    from forestgaps_core.plugins.registry import Plugins

    plugins = Plugins.discover()
    torch.manual_seed(0)
    norm = build("normalization", plugins.component("normalization", "group").load()(), {"batch_per_device": lambda: 8})
    made = {"normalization": lambda: norm, "resolution_m": lambda: 0.5, "thresholds": lambda: THRESHOLDS}
    network: nn.Module = build("model", plugins.component("model", name).load()(), made)
    return network


def mapped(dsm: Path, out: Path, name: str, workers: int | None) -> dict[str, float]:
    """Map in this process; what it took."""
    from forestgaps_core import Environment, Predictor
    from forestgaps_core.runtime.memory import reuse_memory
    from forestgaps_rasters.prediction.predict_raster import predict_raster
    from forestgaps_rasters.work.executors import ProcessExecutor, ThreadExecutor

    network = Constant() if name == "constant" else network_of(name)
    predictor = Predictor(model=network, thresholds=THRESHOLDS, resolution_m=0.5, environment=Environment(device="cpu"))
    executor = None if workers is None else ProcessExecutor(workers) if workers > 1 else ThreadExecutor()
    torch.set_num_threads(1)
    reuse_memory()  # as the program does
    wall, start = time.perf_counter(), cpu()
    done = predict_raster(predictor, dsm, out, executor=executor)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "pixels": done.rows * done.columns,
        "cpu_s": cpu() - start,
        "wall_s": time.perf_counter() - wall,
        "peak_gib": peak[0] / 2**20,
        "peak_of_a_child_gib": peak[1] / 2**20,
    }


def cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def alone(*arguments: str) -> dict[str, float]:
    """This script in a process of its own."""
    line = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=30_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=3, metavar=("DSM", "OUT", "NETWORK"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        dsm, out, name = options.child
        print(json.dumps(mapped(Path(dsm), Path(out), name, options.workers)))
        return
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        terrain(place / "large.tif", options.size)
        large = alone(str(place / "large.tif"), str(place / "large"), "constant", *workers)
    side = f"{options.size:,}"
    print(f"{side} x {side} pixels, {len(THRESHOLDS)} thresholds, network that does nothing:")
    print(f"  peak memory {large['peak_gib']:.2f} GiB (a child {large['peak_of_a_child_gib']:.2f} GiB); goal: below 2 GiB")
    rate = large["pixels"] / large["cpu_s"] / 1e6
    print(f"  {large['cpu_s']:.0f} CPU s, {large['wall_s']:.0f} s on the clock, {rate:.1f} Mpx a CPU s")
    if options.json:
        options.json.write_text(json.dumps(large, indent=1) + "\n")


if __name__ == "__main__":
    main()
