"""Canopy gaps as polygons and numbers: `forestgaps gaps`, `forestgaps change`."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import Command, hookimpl


@hookimpl
def forestgaps_postprocessors() -> Mapping[str, str]:
    return {"min_area": "forestgaps_gaps.detection.min_area:MinArea"}


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "gaps": Command("forestgaps_gaps.commands.gaps:gaps", "Gaps of a CHM or a gap map as polygons, with their statistics."),
        "change": Command("forestgaps_gaps.commands.change:change", "Gaps that opened, closed, grew or shrank between two dates."),
    }
