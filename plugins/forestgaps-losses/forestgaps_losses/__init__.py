"""Losses for forestgaps: the table of contents. Importing it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_losses.bce import Bce as Bce
    from forestgaps_losses.boundary import Boundary as Boundary
    from forestgaps_losses.combo import Combo as Combo
    from forestgaps_losses.crps import Crps as Crps
    from forestgaps_losses.dice import Dice as Dice
    from forestgaps_losses.focal import Focal as Focal
    from forestgaps_losses.focal_dice import CombinedFocalDiceLoss as CombinedFocalDiceLoss
    from forestgaps_losses.heights import Huber as Huber
    from forestgaps_losses.heights import Pinball as Pinball
    from forestgaps_losses.lovasz import Lovasz as Lovasz
    from forestgaps_losses.mixtures import MixtureConfig as MixtureConfig
    from forestgaps_losses.mixtures import SumConfig as SumConfig
    from forestgaps_losses.tversky import FocalTversky as FocalTversky
    from forestgaps_losses.tversky import Tversky as Tversky

LOSSES = {
    "bce": "forestgaps_losses.bce:Bce",
    "boundary": "forestgaps_losses.boundary:Boundary",
    "combo": "forestgaps_losses.combo:Combo",
    "crps": "forestgaps_losses.crps:Crps",
    "dice": "forestgaps_losses.dice:Dice",
    "focal": "forestgaps_losses.focal:Focal",
    "focal_dice": "forestgaps_losses.focal_dice:CombinedFocalDiceLoss",
    "focal_tversky": "forestgaps_losses.tversky:FocalTversky",
    "huber": "forestgaps_losses.heights:Huber",
    "lovasz": "forestgaps_losses.lovasz:Lovasz",
    "mixture": "forestgaps_losses.mixtures:MixtureConfig",
    "pinball": "forestgaps_losses.heights:Pinball",
    "sum": "forestgaps_losses.mixtures:SumConfig",
    "tversky": "forestgaps_losses.tversky:Tversky",
}


@hookimpl
def forestgaps_losses() -> Mapping[str, str]:
    return LOSSES


__getattr__, __dir__ = lazy_exports(__name__, LOSSES.values())
