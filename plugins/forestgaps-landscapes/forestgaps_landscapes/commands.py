"""The command `forestgaps simulate`. What it needs is imported when it runs, so that `--help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from forestgaps_landscapes.landscape import Landscape

FILES = ("dsm.tif", "dtm.tif", "chm.tif")
NODATA = -9999.0
CRS = "EPSG:32632"
CORNER = (300_000.0, 5_300_000.0)  # east and north of the upper left corner of seed 0: somewhere in that zone, in whole metres
NEXT_M = 50_000.0  # from a seed's corner to the next one's: farther than the widest landscape, so that none overlap
SLOPES, GAP_SHARES = (4.0, 45.0), (0.01, 0.15)


def simulate(
    out_folder: Annotated[Path, typer.Argument(help="Folder to write dsm.tif, dtm.tif and chm.tif into; made if need be.")],
    seed: Annotated[int, typer.Option(help="Another number gives another landscape.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Pixels on a side.", min=16, max=8192)] = 512,
    resolution: Annotated[float, typer.Option(help="Pixel size, metres.", min=0.25, max=5.0)] = 1.0,
    forest: Annotated[str, typer.Option(help="rainforest, broadleaf, conifer, open, plantation, or any of them.")] = "any",
) -> None:
    """Write a simulated landscape: surface (DSM), ground (DTM) and canopy height (CHM), as GeoTIFFs in metres."""
    from forestgaps_core.errors import DataError

    taken = [name for name in FILES if (out_folder / name).exists()]
    if taken:
        raise DataError(f"{out_folder} has {' and '.join(taken)} already; name another folder, or remove them")
    if out_folder.exists() and not out_folder.is_dir():
        raise DataError(f"{out_folder} is a file; name a folder")
    made = landscape(seed, size, resolution, forest)
    for path in written(out_folder, made, resolution, corner(seed)):
        typer.echo(f"wrote {path}")


def landscape(seed: int, size: int, resolution_m: float, forest: str) -> Landscape:
    from typing import cast

    from forestgaps_core.errors import ConfigError, nearest
    from forestgaps_landscapes.landscape import simulate
    from forestgaps_landscapes.variety import FORESTS, Forest, drawn_settings

    if forest not in ("any", *FORESTS):
        raise ConfigError(f"--forest: found {forest!r}{nearest(forest, FORESTS)}; there is: any, {', '.join(FORESTS)}", "simulate")
    return simulate(seed, size, resolution_m, drawn_settings(seed, cast(Forest, forest), SLOPES, GAP_SHARES))


def corner(seed: int) -> tuple[float, float]:
    """East and north of the upper left corner, metres: another place for each of a hundred seeds, so that none overlap."""
    return CORNER[0] + NEXT_M * (seed % 10), CORNER[1] - NEXT_M * (seed // 10 % 10)


def written(folder: Path, made: Landscape, resolution_m: float, corner: tuple[float, float]) -> list[Path]:
    """The three rasters in the folder: all of them, or none."""
    from forestgaps_core.errors import DataError
    from forestgaps_core.writing import new_folder

    try:
        import rasterio  # noqa: F401  # before anything is written
    except ImportError:
        raise DataError('writing GeoTIFFs needs rasterio: pip install "forestgaps-landscapes[geotiff]"') from None
    if not folder.exists():
        with new_folder(folder, needed=bytes_of(made)) as draft:
            write_rasters(draft, made, resolution_m, corner)
    else:
        write_rasters(folder, made, resolution_m, corner)
    return [folder / name for name in FILES]


def write_rasters(folder: Path, made: Landscape, resolution_m: float, corner: tuple[float, float]) -> None:
    from rasterio.errors import RasterioError

    from forestgaps_core.errors import DiskError
    from forestgaps_core.writing import discard, disk_errors, free_at, size, sync_file, sync_folder

    unfinished = [folder / f".{name}.part" for name in FILES]
    done: list[Path] = []
    try:
        with disk_errors(folder, needed=bytes_of(made)):
            for path, plane in zip(unfinished, (made.dsm, made.dtm, made.height), strict=True):
                try:
                    write_raster(path, plane.where(made.valid, NODATA), resolution_m, corner)
                except RasterioError as error:  # GDAL tells why in words only
                    room = f"up to {size(bytes_of(made))} needed, {size(free_at(folder) or 0)} free on its disk"
                    raise DiskError(f"{folder} could not be written: {error} ({room}); make room, or write elsewhere") from error
                sync_file(path)
            for path, name in zip(unfinished, FILES, strict=True):
                done.append(path.rename(folder / name))
            sync_folder(folder)
    except BaseException:
        for path in (*unfinished, *done):
            discard(path)
        raise


def bytes_of(made: Landscape) -> int:
    """Of the three rasters, at most."""
    return len(FILES) * made.dsm.numel() * made.dsm.element_size()


def write_raster(path: Path, plane: Tensor, resolution_m: float, corner: tuple[float, float]) -> None:
    import rasterio

    rows, columns = plane.shape
    profile = {
        "driver": "GTiff",
        "height": rows,
        "width": columns,
        "count": 1,
        "dtype": "float32",
        "nodata": NODATA,
        "crs": CRS,
        "transform": rasterio.Affine(resolution_m, 0.0, corner[0], 0.0, -resolution_m, corner[1]),
        "compress": "deflate",
        "predictor": 3,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(plane.numpy(), 1)
        raster.units = ("metre",)
