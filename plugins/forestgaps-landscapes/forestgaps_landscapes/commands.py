"""The command `forestgaps simulate`. What it needs is imported when it runs, so that `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from forestgaps_landscapes.simulation.landscape import Landscape

RASTER_NAMES = ("dsm.tif", "dtm.tif", "chm.tif")
NODATA = -9999.0
CRS = "EPSG:32632"
ORIGIN_M = (300_000.0, 5_300_000.0)  # east and north of the upper left corner of seed 0: somewhere in that zone, in whole meters
ORIGIN_STEP_M = 50_000.0  # from a seed's corner to the next one's: farther than the widest landscape, so that none overlap
SLOPE_RANGE_DEG, GAP_FRACTION_RANGE = (4.0, 45.0), (0.01, 0.15)


def simulate(
    out_folder: Annotated[Path, typer.Argument(help="Folder to write dsm.tif, dtm.tif and chm.tif into; made if need be.")],
    seed: Annotated[int, typer.Option(help="Another number gives another landscape.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Pixels on a side.", min=16, max=8192)] = 512,
    resolution: Annotated[float, typer.Option(help="Pixel size, meters.", min=0.25, max=5.0)] = 1.0,
    forest: Annotated[str, typer.Option(help="rainforest, broadleaf, conifer, open, plantation, or any of them.")] = "any",
) -> None:
    """Write a simulated landscape: surface (DSM), ground (DTM) and canopy height (CHM), as GeoTIFFs in meters."""
    from forestgaps_core.files.drafts import new_files

    check_forest(forest)
    check_rasterio()
    with new_files(out_folder, RASTER_NAMES, needed=estimate_bytes(size), purpose="simulate") as draft:
        write_rasters(draft, simulate_landscape(seed, size, resolution, forest), resolution, compute_corner(seed))
    for name in RASTER_NAMES:
        typer.echo(f"wrote {out_folder / name}")


def check_forest(forest: str) -> None:
    from forestgaps_core.errors import ConfigError, nearest
    from forestgaps_landscapes.simulation.variety import FORESTS

    if forest not in ("any", *FORESTS):
        raise ConfigError(f"--forest: found {forest!r}{nearest(forest, FORESTS)}; there is: any, {', '.join(FORESTS)}", "simulate")


def simulate_landscape(seed: int, size: int, resolution_m: float, forest: str) -> Landscape:
    from typing import cast

    from forestgaps_landscapes.simulation.landscape import simulate
    from forestgaps_landscapes.simulation.variety import Forest, sample_settings

    return simulate(seed, size, resolution_m, sample_settings(seed, cast(Forest, forest), SLOPE_RANGE_DEG, GAP_FRACTION_RANGE))


def compute_corner(seed: int) -> tuple[float, float]:
    """East and north of the upper left corner, meters: another place for each of a hundred seeds, so that none overlap."""
    return ORIGIN_M[0] + ORIGIN_STEP_M * (seed % 10), ORIGIN_M[1] - ORIGIN_STEP_M * (seed // 10 % 10)


def check_rasterio() -> None:
    """
    Raises:
        DataError: What writes GeoTIFFs is missing.
    """
    from forestgaps_core.errors import DataError

    try:
        import rasterio  # noqa: F401

        import forestgaps_geo.bands.writing  # noqa: F401
    except ImportError as error:
        raise DataError(f'GeoTIFFs need rasterio ({error}); pip install "forestgaps-landscapes[geotiff]"') from None


def write_rasters(folder: Path, made: Landscape, resolution_m: float, corner: tuple[float, float]) -> None:
    for name, plane in zip(RASTER_NAMES, (made.dsm, made.dtm, made.height), strict=True):
        write_raster(folder / name, plane.where(made.valid, NODATA), resolution_m, corner)


def estimate_bytes(size: int) -> int:
    """Of the three rasters, at most."""
    return len(RASTER_NAMES) * 4 * size * size


def write_raster(path: Path, plane: Tensor, resolution_m: float, corner: tuple[float, float]) -> None:
    """
    Raises:
        OSError: The disk did not take it.
    """
    from rasterio import Affine

    from forestgaps_geo.bands.writing import NewRaster

    rows, columns = plane.shape
    profile = {
        "height": rows,
        "width": columns,
        "count": 1,
        "dtype": "float32",
        "nodata": NODATA,
        "crs": CRS,
        "transform": Affine(resolution_m, 0.0, corner[0], 0.0, -resolution_m, corner[1]),
        "compress": "deflate",
        "predictor": 3,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }
    with NewRaster(path, **profile) as raster:
        raster.write(plane.numpy())
        raster.file.units = ("metre",)
