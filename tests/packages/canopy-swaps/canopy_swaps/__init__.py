"""One component of each kind that a researcher may replace: the table of contents."""

from forestgaps_core import Command, Recipe, hookimpl


@hookimpl
def forestgaps_optimizers():
    return {"two_rates": "canopy_swaps.training:TwoRates", "adamw": "canopy_swaps.training:TwoRates"}


@hookimpl
def forestgaps_augmentations():
    return {"lift": "canopy_swaps.training:Lift"}


@hookimpl
def forestgaps_schedulers():
    return {"steps_down": "canopy_swaps.training:StepsDown"}


@hookimpl
def forestgaps_losses():
    return {"balanced": "canopy_swaps.losses:BalancedConfig"}


@hookimpl
def forestgaps_metrics():
    return {"mapped_fraction": "canopy_swaps.losses:MappedFractionConfig"}


@hookimpl
def forestgaps_models():
    return {"pyramid": "canopy_swaps.networks:PyramidConfig"}


@hookimpl
def forestgaps_normalizations():
    return {"scaled": "canopy_swaps.networks:Scaled"}


@hookimpl
def forestgaps_callbacks():
    return {
        "lottery": "canopy_swaps.callbacks:LotteryConfig",
        "tracker": "canopy_swaps.callbacks:TrackerConfig",
        "kill": "canopy_swaps.callbacks:Kill",
    }


@hookimpl
def forestgaps_commands():
    return {"canopy-count": Command("canopy_swaps.commands:count", help="Count the weights of a trained network.")}


@hookimpl
def forestgaps_recipes():
    return {"canopy": Recipe("canopy_swaps:canopy.toml", help="Everything of this package in one run.")}
