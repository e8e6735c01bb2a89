"""Simulated terrain and forest for forestgaps: the data of the first run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Command, Recipe

if TYPE_CHECKING:
    from forestgaps_landscapes.data import Landscapes as Landscapes
    from forestgaps_landscapes.landscape import Landscape as Landscape
    from forestgaps_landscapes.landscape import Settings as Settings
    from forestgaps_landscapes.landscape import simulate as simulate

_PUBLIC = {"Landscape": "landscape", "Landscapes": "data", "Settings": "landscape", "simulate": "landscape"}


@hookimpl
def forestgaps_data() -> Mapping[str, str]:
    return {"landscapes": "forestgaps_landscapes.data:Landscapes"}


@hookimpl
def forestgaps_recipes() -> Mapping[str, Recipe]:
    return {
        "quick": Recipe(
            target="forestgaps_landscapes:quick.toml",
            help="Simulated forest, a small network: about two minutes on two CPU cores.",
        )
    }


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "simulate": Command(
            target="forestgaps_landscapes.commands:simulate", help="Write a simulated landscape as GeoTIFFs (DSM, DTM, CHM)."
        )
    }


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
