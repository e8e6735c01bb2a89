"""Networks that map canopy gaps from a surface model: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forestgaps_core import hookimpl

_PUBLIC = {
    "AttentionUNet": "unet",
    "CbamUNet": "unet",
    "DeepLabV3Plus": "deeplab",
    "GroundUNet": "ground_unet",
    "HeightUNet": "unet",
    "PlainUNet": "unet",
    "UNet": "unet",
    "UNetPlusPlus": "unet_plus_plus",
    "View": "views",
    "network_cost": "cost",
}


@hookimpl
def forestgaps_models() -> Mapping[str, str]:
    return {
        "attention_unet": "forestgaps_models.unet:AttentionUNet",
        "cbam_unet": "forestgaps_models.unet:CbamUNet",
        "deeplab": "forestgaps_models.deeplab:DeepLabV3Plus",
        "ground_unet": "forestgaps_models.ground_unet:GroundUNet",
        "height_unet": "forestgaps_models.unet:HeightUNet",
        "plain_unet": "forestgaps_models.unet:PlainUNet",
        "unet": "forestgaps_models.unet:UNet",
        "unet_plus_plus": "forestgaps_models.unet_plus_plus:UNetPlusPlus",
    }


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
