"""A package with a further input layer: data that have it, a model that uses it, an augmentation that changes it."""

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_data():
    return {"colored": "canopy_colors.parts:Colored"}


@hookimpl
def forestgaps_models():
    return {"color_net": "canopy_colors.parts:ColorModel"}


@hookimpl
def forestgaps_augmentations():
    return {"brightness": "canopy_colors.parts:Brightness"}
