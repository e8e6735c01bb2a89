"""What `forestgaps predict` takes beside the network, held against the network alone and against MONAI.

On a raster with holes in a tiled, compressed GeoTIFF, three thresholds, one thread, these take turns:

  forward passes   the network on every window of the map, as `predict` lays them; nothing is read, kept or written
  map in memory    windows read from the file, computed, blended into bytes: what of `predict` is comparable with MONAI
  predict          the whole: also look at the raster, two Cloud-Optimized GeoTIFFs, read again to be sure
  MONAI            `sliding_window_inference` over the same raster in memory, same windows and overlap, Gaussian weights; nothing
                   is read or written

for `height_unet`, a U-Net of usual cost, and for `ground_unet`, whose network is so quick that everything else is seen.

Then, with a network that does nothing: million pixels a CPU second, and peak memory of a map of so many rows beside that of
four times as many, each in a process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from interleaved import Comparison, interleaved, record, save, surroundings, table
from predict_scale import THRESHOLDS, alone, network_of, terrain
from torch import Tensor, nn

from forestgaps_core import Environment, Predictor
from forestgaps_core.runtime.memory import reuse_memory
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.prediction.blending import assemble_strips
from forestgaps_rasters.prediction.block_mapper import BlockMapper, DsmReader
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.prediction.window_choice import choose_windows
from forestgaps_rasters.sources.mosaics import make_source
from forestgaps_rasters.work.executors import ThreadExecutor

GOALS = {"predict": 1.05}  # of the forward passes
OVER_MONAI = 1.0
MEMORY_GROWTH = 1.1


def jobs_of(name: str, dsm: Path, folder: Path) -> dict[str, Callable[[], object]]:
    network = network_of(name).eval()
    predictor = Predictor(model=network, thresholds=THRESHOLDS, resolution_m=0.5, environment=Environment(device="cpu"))
    with rasterio.open(dsm) as file:
        read, grid = file.read(1), Grid(file.crs, file.transform, *file.shape)
    surface = torch.from_numpy(np.where(read < -9000, 400, read))[None, None]
    window_grid, _ = choose_windows(predictor, grid, MapOptions())
    levels = torch.tensor([THRESHOLDS])
    size = (window_grid.down.size, window_grid.right.size)
    overlap = [
        1 - (axis.starts[1] - axis.starts[0]) / axis.size if len(axis) > 1 else 0.0
        for axis in (window_grid.down, window_grid.right)
    ]

    def answered(window: Tensor) -> Tensor:
        logits: Tensor = network(window, torch.ones_like(window, dtype=torch.bool), levels.expand(len(window), -1))
        return logits

    def forward() -> None:
        with torch.inference_mode():
            for down, right in window_grid:
                (top, _), (left, _) = window_grid.down.get_read_range(down), window_grid.right.get_read_range(right)
                window = surface[..., top : top + size[0], left : left + size[1]].clone()
                answered(nn.functional.pad(window, (0, size[1] - window.shape[-1], 0, size[0] - window.shape[-2])))

    def in_memory() -> None:
        with configure_gdal():
            source = make_source([dsm])
            with source.open() as band:
                mapper = BlockMapper(predictor, DsmReader(source, band.grid, False), window_grid, THRESHOLDS)
            with closing(mapper):
                blocks = {item: mapper(item) for item in window_grid}
            for strip in assemble_strips(window_grid, len(THRESHOLDS), blocks.get):
                for piece in strip.pieces:
                    piece.values.max()

    def predict() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        predict_raster(predictor, dsm, folder, executor=ThreadExecutor())

    jobs: dict[str, Callable[[], object]] = {
        "forward passes": forward,
        "map in memory": in_memory,
        "predict": predict,
    }
    try:
        from monai.inferers.utils import sliding_window_inference
    except ImportError:
        return jobs

    def monai() -> None:
        with torch.inference_mode():
            sliding_window_inference(surface, size, 1, answered, overlap=overlap, mode="gaussian").sigmoid()

    return {**jobs, "MONAI": monai}


def alone_and_beside(side: int, rounds: int, names: list[str], place: Path) -> list[Comparison]:
    """Each network's comparison with its own forward passes, and with MONAI where that is installed."""
    terrain(place / "dsm.tif", side)
    found = []
    for name in names:
        seconds = interleaved(jobs_of(name, place / "dsm.tif", place / "map"), rounds=rounds, clock=time.process_time)
        title = f"{side} x {side} pixels, {name}"
        ours = {job: taken for job, taken in seconds.items() if job != "MONAI"}
        found.append(Comparison(title, ours, "forward passes", GOALS))
        if "MONAI" in seconds:
            both = {job: seconds[job] for job in ("MONAI", "map in memory", "predict")}
            found.append(Comparison(title, both, "MONAI", {"map in memory": OVER_MONAI}))
    return found


def memory(side: int, place: Path) -> list[dict[str, Any]]:
    """Of a network that does nothing."""
    peaks = []
    for rows in (side, 4 * side):
        terrain(place / "tall.tif", side, rows)
        result = alone(str(place / "tall.tif"), str(place / f"tall-{rows}"), "constant", "--workers", "1")
        shutil.rmtree(place / f"tall-{rows}")
        peaks.append(result["peak_gib"])
        rate = result["pixels"] / result["cpu_s"] / 1e6
        print(f"{rows} rows of {side} pixels, a network that does nothing: {rate:.1f} Mpx a CPU second, {peaks[-1]:.2f} GiB")
    return [{"what": f"peak memory, {4 * side} rows to {side}", "value": peaks[1] / peaks[0], "goal": MEMORY_GROWTH}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4096, help="pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=["height_unet", "ground_unet"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reuse_memory()  # as the program does
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = memory(arguments.side, Path(folder))  # first: a process begins with the peak of the one that starts it
        comparisons = alone_and_beside(arguments.side, arguments.rounds, arguments.networks, Path(folder))
        for comparison in comparisons:
            print(table(comparison))
    about = surroundings(["torch", "monai", "rasterio"])
    save(arguments.json, {"about": about, "comparisons": [record(one) for one in comparisons], "rows": rows})


if __name__ == "__main__":
    main()
