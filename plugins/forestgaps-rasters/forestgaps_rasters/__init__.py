"""Elevation rasters for forestgaps: `prepare`, the data of a prepared folder, `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from forestgaps_core import Command, Recipe, hookimpl

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


_PUBLIC = {"Rasters": "data", "Site": "sites", "predict_raster": "predicting", "prepare_sites": "preparing"}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
