"""From gaps in pixels to polygons with measures: our way beside the usual one.

    python benchmarks/gap_vectors.py --size 4096 --rounds 5

The scene is simulated: 12 % gap, many small gaps and a few large ones, whose pixels lie in memory, so that no file counts.
Ours labels in strips, measures, finds the distance to the next gap and makes valid multipolygons. The usual way labels the whole
array (scikit-image where it is installed, scipy otherwise), measures with the same package, polygonizes with GDAL
(rasterio.features.shapes, 8 neighbors), goes through GeoJSON into shapely and mends what is not valid; it finds no distances. A
third job is ours without distances, which is what the usual way does.

How to read it: CPU time of one thread, jobs in turns (see `interleaved`); the ratio to the usual way. Peak memory is that of
a fresh process for each job, less the scene it begins with.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from attrs import define
from interleaved import Comparison, interleaved, record, save, surroundings, table
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import shapes
from scipy import ndimage as ndi

from forestgaps_gaps.detection.measures import Measures
from forestgaps_gaps.detection.outlines import Outlines
from forestgaps_gaps.detection.polygons import build_polygons
from forestgaps_gaps.detection.search import GapSearch
from forestgaps_gaps.rasters.grid import Pixel
from forestgaps_gaps.rasters.layers import Layer, Pixels
from forestgaps_geo.gap_labeling import label_raster
from forestgaps_geo.grids.grid import Grid

Mask = NDArray[np.bool_]
Heights = NDArray[np.float32]
GOALS = {"ours": 1.0, "ours, no distances": 0.25}


def scene(size: int, seed: int = 0) -> tuple[Mask, Heights]:
    """A field of heights rough at three scales, the lowest 12 % of it gap."""
    random = np.random.default_rng(seed)
    height = np.zeros((size, size), np.float32)
    for scale, weight in ((1.2, 1.0), (4.0, 3.0), (16.0, 6.0)):
        rough = ndi.gaussian_filter(random.standard_normal((size, size), np.float32), scale)
        height += weight * rough / rough.std()
    height -= np.quantile(height, 0.12)
    return height < 0, np.maximum(2 * height + 5, 0)


@define(eq=False)
class InMemory(Layer):
    gaps: Mask
    heights: Heights

    def read_pixels(self, row: int, rows: int) -> Pixels:
        gap = self.gaps[row : row + rows]
        return Pixels(gap, np.ones(gap.shape, bool), self.heights[row : row + rows])


def ours(gap: Mask, height: Heights) -> tuple[int, float]:
    layer = InMemory(Grid(None, Affine(1, 0, 0, 0, -1, 0), *gap.shape), 5.0, False, "5 m", gap, height)
    count, area = 0, 0.0
    for found, some in GapSearch(layer).iterate_parts():  # as the command takes them, which writes each and forgets it
        count, area = count + len(found), area + float(shapely.area(some).sum())
    return count, area


def without_distances(gap: Mask, height: Heights) -> tuple[int, float]:
    rows, columns = gap.shape
    labels = label_raster(lambda row, count: gap[row : row + count], rows, columns)
    measures, outlines, area = Measures(labels.count, columns, 8), Outlines(columns, labels.last_row), 0.0
    transform = Affine(1, 0, 0, 0, -1, 0)
    for strip in labels.strips():
        some = slice(strip.row, strip.row + len(strip.local))
        measures.add(strip, np.ones(strip.local.shape, bool), height[some])
        area += float(shapely.area(build_polygons(outlines.add(strip.labels), transform)[1]).sum())
    measures.finish()
    area += float(shapely.area(build_polygons(outlines.finish(), transform)[1]).sum())
    table_ = measures.make_table(np.arange(1, labels.count + 1), np.zeros(labels.count), Pixel())
    return len(table_), area


def usual(gap: Mask, height: Heights) -> tuple[int, float]:
    try:
        from skimage.measure import label, regionprops_table

        labels = label(gap, connectivity=2)
        regionprops_table(labels, height, properties=("label", "area", "perimeter", "centroid", "intensity_mean"))
        count = int(labels.max())
    except ImportError:
        labels, count = ndi.label(gap, np.ones((3, 3)))
        each = np.arange(1, count + 1)
        for measure in (ndi.mean, ndi.standard_deviation, ndi.minimum, ndi.maximum):
            measure(height, labels, each)
        np.bincount(labels.ravel())
        ndi.center_of_mass(gap, labels, each)
    outlines = [json.dumps(shape) for shape, _ in shapes(labels.astype(np.int32), mask=gap, connectivity=8)]
    found = shapely.from_geojson(outlines)
    wrong = ~shapely.is_valid(found)
    found[wrong] = shapely.make_valid(found[wrong])
    return count, float(shapely.area(found).sum())


JOBS: dict[str, Callable[[Mask, Heights], tuple[int, float]]] = {
    "usual": usual,
    "ours": ours,
    "ours, no distances": without_distances,
}


def peak_mb(name: str, size: int) -> float:
    """Megabytes a fresh process needs at most for one job, beyond those it had before."""
    done = subprocess.run(
        [sys.executable, __file__, "--size", str(size), "--only", name], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def only(name: str, size: int) -> None:
    """Run one job and print by how many megabytes it raised the peak."""
    gap, height = scene(size)
    JOBS[name](gap[:64], height[:64])  # imports
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # the peak restarts; making the scene took more
    before = peak_now()
    JOBS[name](gap, height)
    print(peak_now() - before)


def peak_now() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="side of the scene, pixels")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison")
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    parser.add_argument("--only", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments.only, arguments.size)
        return
    gap, height = scene(arguments.size)
    about = surroundings(["forestgaps-gaps", "numpy", "scipy", "rasterio", "shapely", "connected-components-3d", "scikit-image"])
    results = {name: job(gap, height) for name, job in JOBS.items()}
    assert all(count == results["ours"][0] and abs(area / results["ours"][1] - 1) < 1e-9 for count, area in results.values()), (
        results
    )
    count, area = results["ours"]
    print(", ".join(f"{name} {version}" for name, version in about.items()))
    print(
        f"{arguments.size} x {arguments.size} pixels, {count} gaps, {area / gap.size:.1%} of them gap; {arguments.rounds} rounds\n"
    )
    seconds = interleaved({name: partial(job, gap, height) for name, job in JOBS.items()}, rounds=arguments.rounds)
    comparison = Comparison("gaps to polygons with measures", seconds, reference="usual", goals=GOALS)
    print(table(comparison), end="\n\n", flush=True)
    memory: dict[str, Any] = {name: peak_mb(name, arguments.size) for name in JOBS}
    print("peak memory beyond the scene: " + ", ".join(f"{name} {value:.0f} MB" for name, value in memory.items()))
    save(arguments.json, {"about": about, "comparison": record(comparison), "peak_mb": memory})


if __name__ == "__main__":
    main()
