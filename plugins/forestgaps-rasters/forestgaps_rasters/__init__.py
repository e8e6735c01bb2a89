"""Elevation rasters for forestgaps: `prepare`, the data of a prepared folder, `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core import Command, Recipe, hookimpl
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_rasters.data import Rasters as Rasters
    from forestgaps_rasters.predicting import predict_raster as predict_raster
    from forestgaps_rasters.preparing import prepare_sites as prepare_sites
    from forestgaps_rasters.sites import Site as Site


@hookimpl
def forestgaps_data() -> Mapping[str, str]:
    return {"rasters": "forestgaps_rasters.data:Rasters"}


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {"hard_examples": "forestgaps_rasters.hard_examples:HardExamplesConfig"}


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "prepare": Command("forestgaps_rasters.commands:prepare", "Check rasters and write a folder to train from."),
        "predict": Command("forestgaps_rasters.commands:predict", "Map gaps on a DSM of any size."),
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
        "forestgaps_rasters.data:Rasters",
        "forestgaps_rasters.sites:Site",
        "forestgaps_rasters.predicting:predict_raster",
        "forestgaps_rasters.preparing:prepare_sites",
    ],
)
