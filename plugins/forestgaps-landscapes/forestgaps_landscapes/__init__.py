"""Simulated terrain and forest for forestgaps: the data of the first run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Command, Recipe
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_landscapes.data import Landscapes as Landscapes
    from forestgaps_landscapes.simulation.landscape import Landscape as Landscape
    from forestgaps_landscapes.simulation.landscape import Settings as Settings
    from forestgaps_landscapes.simulation.landscape import simulate as simulate


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


__getattr__, __dir__ = lazy_exports(
    __name__,
    [
        "forestgaps_landscapes.simulation.landscape:Landscape",
        "forestgaps_landscapes.data:Landscapes",
        "forestgaps_landscapes.simulation.landscape:Settings",
        "forestgaps_landscapes.simulation.landscape:simulate",
    ],
)
