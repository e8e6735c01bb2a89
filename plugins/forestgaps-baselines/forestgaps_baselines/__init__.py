"""Ground filters, which map gaps from a DSM alone, without training: baselines for networks."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Kind, Pretrained
from forestgaps_core.lazy_exports import lazy_exports

BASELINES = {
    "bulldozer": "forestgaps_baselines.bulldozer_dtm:Bulldozer",
    "csf": "forestgaps_baselines.cloth:ClothSimulation",
    "dsm2dtm": "forestgaps_baselines.dsm_to_dtm:Dsm2Dtm",
    "envelope": "forestgaps_baselines.envelope:Envelope",
    "opening": "forestgaps_baselines.opening:Opening",
    "progressive": "forestgaps_baselines.progressive:Progressive",
}
MODELS = {"ground_filter": "forestgaps_baselines.network:GroundFilterModel"}


@hookimpl
def forestgaps_kinds() -> Mapping[str, Kind]:
    return {
        "baseline": Kind(
            makes="a `GroundFilter`, called as (dsm, resolution_m), that returns the elevation of the ground",
            table=False,
            how="--baseline {}",
            check="forestgaps_baselines.contract:check_ground_filter",
        )
    }


@hookimpl
def forestgaps_components() -> Mapping[str, Mapping[str, str]]:
    return {"baseline": BASELINES}


@hookimpl
def forestgaps_models() -> Mapping[str, str]:
    return MODELS


@hookimpl
def forestgaps_networks() -> Mapping[str, Pretrained]:
    return {
        name: Pretrained(target=f"forestgaps_baselines:networks/{name}", help=f"The ground filter {name}, without training.")
        for name in BASELINES
    }


__getattr__, __dir__ = lazy_exports(
    __name__,
    [
        *BASELINES.values(),
        *MODELS.values(),
        "forestgaps_baselines.contract:GroundFilter",
        "forestgaps_baselines.contract:estimate_ground",
    ],
)
