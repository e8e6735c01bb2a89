"""Evaluation of trained networks: `evaluate` judges them by one protocol, `report` writes a page about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Command
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_evaluation.tallies import Tallies as Tallies
    from forestgaps_evaluation.tallies import tallied as tallied


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "evaluate": Command(
            "forestgaps_evaluation.commands:evaluate", "Evaluate trained networks with confidence intervals and baselines."
        ),
        "report": Command(
            "forestgaps_evaluation.report_command:report", "Write a page about a trained network, to be read anywhere."
        ),
    }


__getattr__, __dir__ = lazy_exports(__name__, ["forestgaps_evaluation.tallies:Tallies", "forestgaps_evaluation.tallies:tallied"])
