"""The ground of CNES bulldozer: a cloth that is draped below the surface, from coarse to fine pixels.

Source: Lallement et al. 2023, doi 10.5194/isprs-archives-XLVIII-1-W2-2023-387-2023; https://github.com/CNES/bulldozer
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from attrs import field, frozen
from attrs.validators import gt

from forestgaps_baselines.contract import GroundFilter, Plane
from forestgaps_baselines.optional import require_module
from forestgaps_core.errors import ForestgapsError

NODATA = -32768.0
SMALLEST_PX = 16  # side of the smallest raster that the package takes
PROGRAM = """
import sys
from bulldozer.pipeline.bulldozer_pipeline import dsm_to_dtm
source, out, size = sys.argv[1:]
dsm_to_dtm(dsm_path=source, output_dir=out, max_object_size=float(size), nb_max_workers=1)
"""


@frozen(kw_only=True)
class Bulldozer:
    """Draped cloth of CNES bulldozer, with its default settings."""

    max_object_size_m: float = field(default=16.0, validator=gt(0), metadata={"help": "Width of the largest object, meters."})

    def build(self) -> GroundFilter:
        require_module("bulldozer")
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        import rasterio

        valid = np.isfinite(dsm)
        datum = float(np.median(dsm[valid]))  # the package computes in single precision
        rows, columns = dsm.shape
        missing = [(0, max(SMALLEST_PX - length, 0)) for length in dsm.shape]
        surface = np.pad(np.where(valid, dsm - datum, NODATA), missing, mode="edge").astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "dsm.tif", Path(folder) / "out"
            profile = {
                "driver": "GTiff",
                "height": surface.shape[0],
                "width": surface.shape[1],
                "count": 1,
                "dtype": "float32",
                "nodata": NODATA,
                "crs": "EPSG:32631",  # any projection in meters
                "transform": rasterio.Affine(resolution_m, 0, 500_000, 0, -resolution_m, 5_000_000),
            }
            with rasterio.open(source, "w", **profile) as file:
                file.write(surface, 1)
            # A process of its own, because the package changes logging and prints.
            command = [sys.executable, "-c", PROGRAM, str(source), str(out), str(self.max_object_size_m)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines()
                raise ForestgapsError(f"bulldozer failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
            with rasterio.open(out / "dtm.tif") as file:
                ground = file.read(1, masked=True).astype(np.float64).filled(np.nan)
        return np.where(np.isfinite(ground), ground, surface)[:rows, :columns] + datum
