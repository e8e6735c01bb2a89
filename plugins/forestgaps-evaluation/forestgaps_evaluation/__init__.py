"""Evaluation of trained networks: `evaluate` computes scores with a standard protocol, `report` writes a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Command
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_evaluation.counting.tile_counts import TileCounts as TileCounts
    from forestgaps_evaluation.counting.tile_counts import count_tiles as count_tiles


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "evaluate": Command(
            "forestgaps_evaluation.commands.evaluate:evaluate", "Evaluate trained networks with confidence intervals and baselines."
        ),
        "report": Command(
            "forestgaps_evaluation.commands.report:report", "Write a page about a trained network, to be read anywhere."
        ),
    }


__getattr__, __dir__ = lazy_exports(
    __name__,
    ["forestgaps_evaluation.counting.tile_counts:TileCounts", "forestgaps_evaluation.counting.tile_counts:count_tiles"],
)
