"""How time and memory grow: with the size of a raster, the number of sites, of tiles, of thresholds, of plugins installed.

    python benchmarks/growth.py --figures docs/assets --json growth.json

Each point is a fresh process with one thread: CPU time, user and system, and its peak memory; the least of `--rounds` turns, which
go through all points one after the other. What grows:

- raster: `forestgaps prepare` of one DSM and DTM, by their pixels;
- sites: `forestgaps prepare` of so many sites of 800 x 800 pixels;
- tiles: an epoch of the Trainer over so many tiles of 256 x 256 pixels, with a network of no cost;
- thresholds: ten forward passes of ground_unet and height_unet on 4 tiles of 256 x 256 pixels, for so many thresholds;
- plugins: `forestgaps plugins list` with so many further plugins of ten losses each installed.

How to read it: `power` is p of the curve a + b n^p that fits the times best; 1 is a straight line. Where the last point takes less
than 1.3 times the first it is `flat`: there is nothing to fit. `MB each` is what memory gains
from the first to the last point for each unit of n; 0 where it stays.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from interleaved import save, surroundings

COMMAND = Path(sys.executable).with_name("forestgaps")
ONE = {**os.environ, "OMP_NUM_THREADS": "1", "GDAL_CACHEMAX": "64"}
MIB = 2**20
FLAT = 1.3


@frozen
class Curve:
    """One thing that grows.

    Attributes:
        unit: What n counts.
        command: For each n.
    """

    name: str
    unit: str
    command: Mapping[float, Sequence[str]]


# A small process in between: what a process has at its start counts as its peak, and this one is large.
LAUNCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(code)
"""
NEW = "a new folder"


def measured(command: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of a process."""
    with tempfile.TemporaryDirectory() as folder:
        made = [str(Path(folder, "new")) if part == NEW else part for part in command]
        done = subprocess.run([sys.executable, "-S", "-c", LAUNCH, *made], env=ONE, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def fitted(n: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """a, b and p of a + b n^p, by least squares of the relative errors; p from a grid, so that nothing diverges."""
    x, y = np.array(n, float) / max(n), np.array(seconds)
    best = (np.inf, (0.0, 0.0, 1.0))
    for p in np.arange(0.3, 3.001, 0.01):
        terms = np.stack([np.ones_like(x), x**p], 1) / y[:, None]
        (a, b), *_ = np.linalg.lstsq(terms, np.ones_like(y), rcond=None)
        error = float(((terms @ np.array([a, b]) - 1) ** 2).sum())
        if a >= 0 and error < best[0]:
            best = error, (float(a), float(b / max(n) ** p), float(p))
    return best[1]


# --- what is run ----------------------------------------------------------------------------------------------------


def site_files(folder: Path, size: int, shift: float = 0.0) -> None:
    import rasterio
    from rasterio import Affine

    folder.mkdir(parents=True)
    random = np.random.default_rng(int(shift))
    y, x = np.mgrid[:size, :size].astype(np.float32) / 50
    ground = 400 + 30 * np.sin(x / 7) * np.cos(y / 9)
    canopy = 12 + 8 * np.sin(x * 3) * np.sin(y * 3) + random.standard_normal((size, size), np.float32)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": size, "width": size, "tiled": True}
    place = {"crs": "EPSG:32632", "transform": Affine(1, 0, 400_000 + shift, 0, -1, 5_300_000)}
    for name, values in (("dsm", ground + np.maximum(canopy, 0)), ("dtm", ground)):
        with rasterio.open(folder / f"{name}.tif", "w", **profile, **place) as file:
            file.write(values.astype(np.float32), 1)


def prepare(sites: Sequence[Path]) -> list[str]:
    return [str(COMMAND), "prepare", *map(str, sites), "--skip-checks", "--out", NEW]


def rasters(folder: Path, quick: bool) -> Curve:
    sizes = (1000, 2000, 4000, 6000) if quick else (1000, 2000, 4000, 6000, 8000, 12000)
    for size in sizes:
        site_files(folder / f"raster{size}", size)
    return Curve("raster", "million pixels", {s * s / 1e6: prepare([folder / f"raster{s}"]) for s in sizes})


def sites(folder: Path, quick: bool) -> Curve:
    counts = (1, 8, 16, 32) if quick else (1, 8, 16, 32, 64)
    places = [folder / "sites" / f"site{number:02}" for number in range(max(counts))]
    for number, place in enumerate(places):
        site_files(place, 800, shift=1000.0 * number)
    return Curve("sites", "sites", {float(n): prepare(places[:n]) for n in counts})


def of_this_file(name: str, counts: Sequence[int], *more: str) -> dict[float, list[str]]:
    return {float(n): [sys.executable, __file__, "--run", name, str(n), *more] for n in counts}


def tiles(folder: Path, quick: bool) -> Curve:
    return Curve("tiles", "tiles", of_this_file("tiles", (64, 256, 512, 1024) if quick else (64, 256, 512, 1024, 2048)))


def thresholds(name: str, quick: bool) -> Curve:
    counts = (1, 4, 8, 16) if quick else (1, 2, 4, 8, 16, 32)
    return Curve(f"thresholds, {name}", "thresholds", of_this_file("thresholds", counts, "--network", name))


def plugins(folder: Path, quick: bool) -> Curve:
    counts = (0, 20, 40, 80) if quick else (0, 10, 20, 40, 80, 160)
    commands = {}
    for count in counts:
        place = folder / f"plugins{count}"
        place.mkdir()
        for number in range(count):
            plugin(place, f"growing{number}")
        code = f"import sys; sys.path.append({str(place)!r}); from forestgaps_core.cli.app import main; main()"
        commands[float(count)] = [sys.executable, "-c", code, "plugins", "list"]
    return Curve("plugins", "further plugins", commands)


def plugin(place: Path, name: str) -> None:
    losses = ", ".join(f'"{name}_{n}": "{name}:Loss"' for n in range(10))
    body = f"from forestgaps_core import hookimpl\n\n\n@hookimpl\ndef forestgaps_losses():\n    return {{{losses}}}\n"
    (place / f"{name}.py").write_text(body)
    about = place / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[forestgaps]\n{name} = {name}\n")


def run_tiles(count: int) -> None:
    import torch
    from data_speed import NoCost as Network
    from data_speed import Windows, free_loss, layers, trainer_of

    from forestgaps_core import TileLoader

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        loader = TileLoader(Windows(layers(Path(name), 2048), 2048, count), batch_size=8)
        trainer_of(Network(), free_loss).fit(loader, epochs=1)


def run_thresholds(count: int, name: str) -> None:
    import torch
    from step_parts import example, network

    torch.set_num_threads(1)
    batch = example(4, 256, tuple(2 + 28 * k / count for k in range(count)))
    model = network(name).eval()
    with torch.inference_mode():
        for _ in range(10):
            model(batch.dsm, batch.valid, batch.thresholds)


# --- figures --------------------------------------------------------------------------------------------------------


def figure(
    path: Path, name: str, unit: str, found: Sequence[tuple[float, float, float]], fit: tuple[float, float, float] | None
) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 9})
    import matplotlib.pyplot as plt

    n, seconds, memory = np.array(found).T
    drawing, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.4), layout="constrained")
    if fit is not None:
        a, b, p = fit
        x = np.linspace(n[0], n[-1], 60)
        left.plot(x, a + b * x**p, color="0.6", linewidth=1, label=f"{a:.2g} + {b:.2g} n^{p:.2f}")
        left.legend(frameon=False, loc="lower right")
    left.plot(n, seconds, "o", color="#1b7837", markersize=4)
    left.set(xlabel=unit, ylabel="CPU seconds", ylim=(0, 1.15 * max(seconds)))
    right.plot(n, memory, "o-", color="#762a83", markersize=4, linewidth=1)
    right.set(xlabel=unit, ylabel="peak MiB", ylim=(0, 1.15 * max(memory)))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(name, fontsize=9)
    drawing.savefig(path, metadata={"Date": None})
    plt.close(drawing)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each point")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller points")
    parser.add_argument("--figures", type=Path, help="folder for a figure of each")
    parser.add_argument("--json", type=Path, help="file for all points")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--network", default="ground_unet", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        what, count = arguments.run
        run_tiles(int(count)) if what == "tiles" else run_thresholds(int(count), arguments.network)
        return
    quick = arguments.quick
    about = surroundings(["torch", "numpy", "forestgaps-core", "forestgaps-rasters", "forestgaps-models"])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        curves = [rasters(folder, quick), sites(folder, quick), tiles(folder, quick), plugins(folder, quick)]
        curves += [thresholds(network, quick) for network in ("ground_unet", "height_unet")]
        fits = report(curves, arguments)
    rows = [
        {"what": f"{row['name']}: power of the growth of time", "value": row["power"], "goal": 1.15} for row in fits if row["power"]
    ]
    save(arguments.json, {"about": about, "curves": fits, "rows": rows})


def report(curves: Sequence[Curve], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for curve in curves:
            for n, command in curve.command.items():
                found.setdefault((curve.name, n), []).append(measured(command))
    fits = []
    print(f"  {'':26} {'from':>8} {'to':>8}   {'seconds':>15}   power   {'peak MiB':>15}   MB each")
    for curve in curves:
        points = [(n, min(s for s, _ in found[curve.name, n]), min(m for _, m in found[curve.name, n])) for n in curve.command]
        n, seconds, memory = zip(*points, strict=True)
        fit = fitted(n, seconds)
        flat = max(seconds) < FLAT * min(seconds)
        each = (memory[-1] - memory[0]) * MIB / 1e6 / (n[-1] - n[0])
        times, peaks = f"{seconds[0]:6.2f} to {seconds[-1]:5.2f}", f"{memory[0]:6.0f} to {memory[-1]:5.0f}"
        ends = f"{n[0]:8g} {n[-1]:8g}   {times}   {' flat' if flat else f'{fit[2]:5.2f}'}   {peaks}"
        print(f"  {f'{curve.name} ({curve.unit})':26} {ends}   {each:7.3f}")
        fits.append({"name": curve.name, "unit": curve.unit, "points": points, "power": None if flat else fit[2], "MB each": each})
        if arguments.figures is not None:
            file = "growth-" + curve.name.replace(", ", "-").replace("_", "-") + ".svg"
            figure(arguments.figures / file, curve.name, curve.unit, points, None if flat else fit)
    return fits


if __name__ == "__main__":
    main()
