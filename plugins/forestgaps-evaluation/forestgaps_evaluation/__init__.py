"""Evaluation of trained networks: `evaluate` judges them by one protocol, `report` writes a page about one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Command

if TYPE_CHECKING:
    from forestgaps_evaluation.tallies import Tallies as Tallies
    from forestgaps_evaluation.tallies import tallied as tallied

_PUBLIC = {"Tallies": "tallies", "tallied": "tallies"}


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


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
