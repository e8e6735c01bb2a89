"""Elevation rasters for forestgaps: `prepare`, the data of a prepared folder, `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core import Command, Recipe, hookimpl
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_rasters.prediction.predict_raster import predict_raster as predict_raster
    from forestgaps_rasters.preparation.site_writing import prepare_sites as prepare_sites
    from forestgaps_rasters.preparation.sites import Site as Site
    from forestgaps_rasters.training.data import Rasters as Rasters


@hookimpl
def forestgaps_data() -> Mapping[str, str]:
    return {"rasters": "forestgaps_rasters.training.data:Rasters"}


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {"hard_examples": "forestgaps_rasters.training.hard_examples:HardExamplesConfig"}


@hookimpl
def forestgaps_postprocessors() -> Mapping[str, str]:
    return {"smooth": "forestgaps_rasters.postprocessing.smooth:Smooth"}


@hookimpl
def forestgaps_readers() -> Mapping[str, str]:
    return {"gdal": "forestgaps_rasters.sources.gdal_reader:Gdal"}


@hookimpl
def forestgaps_report_sections() -> Mapping[str, str]:
    return {"postprocessing": "forestgaps_rasters.postprocessing.report_section:PostprocessingSection"}


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "prepare": Command("forestgaps_rasters.commands.prepare:prepare", "Check rasters and write a folder to train from."),
        "predict": Command("forestgaps_rasters.commands.predict:predict", "Map gaps on a DSM of any size."),
    }


@hookimpl
def forestgaps_recipes() -> Mapping[str, Recipe]:
    return {
        "best": Recipe("forestgaps_rasters:best.toml", "The most accurate maps, from a folder made by `forestgaps prepare`."),
        "rasters": Recipe("forestgaps_rasters:rasters.toml", "Train on a folder made by `forestgaps prepare`; hours on a CPU."),
    }


__getattr__, __dir__ = lazy_exports(
    __name__,
    [
        "forestgaps_rasters.training.data:Rasters",
        "forestgaps_rasters.preparation.sites:Site",
        "forestgaps_rasters.prediction.predict_raster:predict_raster",
        "forestgaps_rasters.preparation.site_writing:prepare_sites",
    ],
)
