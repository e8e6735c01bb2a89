"""A package for what maps and files go through: a format for networks, a step, a reader, sections of reports."""

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_exporters():
    return {"weights": "canopy_maps.weights:Weights"}


@hookimpl
def forestgaps_postprocessors():
    return {"grow": "canopy_maps.grow:Grow"}


@hookimpl
def forestgaps_readers():
    return {"arrays": "canopy_maps.arrays:Arrays"}


@hookimpl
def forestgaps_report_sections():
    return {"sizes": "canopy_maps.sections:Sizes", "failing": "canopy_maps.sections:Failing"}
