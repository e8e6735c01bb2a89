"""`forestgaps prepare` beside gdalwarp, on the same rasters, with one thread each.

    python benchmarks/prepare_speed.py --size 6000 --rounds 5 --json prepare_speed.json

A DSM and a DTM, float32, in tiles, are brought to half their resolution (`whole`: two pixels become one), or onto a grid turned
into another CRS (`warped`). gdalwarp is run twice, with the rules prepare follows (highest for the DSM, mean for the DTM), and
writes plain GeoTIFFs. Prepare besides reads all pixels first for what cannot be, writes down SHA-256 sums of the rasters and of
what it made, subtracts ground from surface, and starts Python: the ratio is of all that to the two calls of gdalwarp alone.

How to read it: CPU time, user and system together, of whole processes in turns (see `interleaved`), as a ratio to gdalwarp; below 1
prepare is faster. The files are in the disk's cache. Needs gdalwarp on the path (gdal-bin) and a tenth of a gigabyte of disk for
each thousand pixels a side.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from interleaved import Comparison, interleaved, record, save, surroundings, table
from rasterio import Affine
from startup import cpu_seconds_of_children

COMMAND = Path(sys.executable).with_name("forestgaps")
GOAL = 1.0
ONE = {**os.environ, "GDAL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "GDAL_CACHEMAX": "64"}


def rasters(folder: Path, size: int) -> tuple[Path, Path]:
    """A surface and its ground at 0.5 m, in UTM."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size].astype(np.float32) / 50
    ground = 400 + 30 * np.sin(x / 7) * np.cos(y / 9)
    canopy = 12 + 8 * np.sin(x * 3) * np.sin(y * 3) + random.standard_normal((size, size), np.float32)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": size, "width": size, "nodata": -9999, "tiled": True}
    place = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)}
    for name, values in (("dsm", ground + np.maximum(canopy, 0)), ("dtm", ground)):
        with rasterio.open(folder / f"{name}.tif", "w", **profile, **place) as file:
            file.write(values.astype(np.float32), 1)
    return folder / "dsm.tif", folder / "dtm.tif"


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=ONE)


def prepare(folder: Path, dsm: Path, dtm: Path, *options: object) -> Callable[[], None]:
    out = folder / "prepared"

    def job() -> None:
        shutil.rmtree(out, ignore_errors=True)
        run(COMMAND, "prepare", "--dsm", dsm, "--dtm", dtm, "--out", out, "--resample", "--skip-checks", *options)

    return job


def gdalwarp(folder: Path, dsm: Path, dtm: Path, *options: object) -> Callable[[], None]:
    def job() -> None:
        for source, how in ((dsm, "max"), (dtm, "average")):
            warp = ("gdalwarp", "-q", "-overwrite", "-wm", 64, "-r", how, "-dstnodata", "nan", "-ot", "Float32")
            run(*warp, *options, source, folder / f"{source.stem}_warped.tif")

    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=6000, help="side of the rasters, pixels")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    parser.add_argument("--json", type=Path, help="file for the seconds of every run")
    arguments = parser.parse_args()
    if shutil.which("gdalwarp") is None:
        sys.exit("gdalwarp is not on the path: nothing to compare with (Debian and Ubuntu: gdal-bin)")
    version = subprocess.run(["gdalwarp", "--version"], capture_output=True, text=True, check=True).stdout.split(",")[0]
    about = {
        **surroundings(["forestgaps-rasters", "rasterio", "numpy"]),
        "gdalwarp": version,
        "rasterio's GDAL": rasterio.__gdal_version__,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = rasters(folder, arguments.size)
        kinds = {
            "two pixels to one": (("--resolution", 1), ("-tr", 1, 1)),
            "into another CRS": (
                ("--resolution", 1, "--crs", "EPSG:32633"),
                ("-tr", 1, 1, "-t_srs", "EPSG:32633"),
            ),
        }
        for kind, (ours, theirs) in kinds.items():
            jobs = {"gdalwarp, twice": gdalwarp(folder, *files, *theirs), "prepare": prepare(folder, *files, *ours)}
            seconds = interleaved(jobs, rounds=arguments.rounds, clock=cpu_seconds_of_children)
            title = f"{arguments.size} x {arguments.size} pixels, {kind}"
            comparison = Comparison(title, seconds, reference="gdalwarp, twice", goals={"prepare": GOAL})
            print(table(comparison), end="\n\n", flush=True)
            records.append(record(comparison))
    save(arguments.json, {"about": about, "comparisons": records})


if __name__ == "__main__":
    main()
