"""Networks that map canopy gaps from a surface model: the table of names."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

MODELS = {
    "attention_unet": "forestgaps_models.unet:AttentionUNet",
    "cbam_unet": "forestgaps_models.unet:CbamUNet",
    "deeplab": "forestgaps_models.deeplab:DeepLabV3Plus",
    "ground_unet": "forestgaps_models.ground_unet:GroundUNet",
    "height_unet": "forestgaps_models.unet:HeightUNet",
    "plain_unet": "forestgaps_models.unet:PlainUNet",
    "unet": "forestgaps_models.unet:UNet",
    "unet_plus_plus": "forestgaps_models.unet_plus_plus:UNetPlusPlus",
}


@hookimpl
def forestgaps_models() -> Mapping[str, str]:
    return MODELS


__getattr__, __dir__ = lazy_exports(
    __name__, [*MODELS.values(), "forestgaps_models.views:View", "forestgaps_models.cost:measure_cost"]
)
