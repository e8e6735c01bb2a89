"""Components built for tests: as a run builds them, with stand-ins for what the run knows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from forestgaps_core.kinds import KINDS, build
from forestgaps_core.testing.examples import THRESHOLDS


def build_component(kind: str, config: Any, **arguments: Any) -> Any:
    """Build a component as a run would, with plain stand-ins for the arguments it may ask for.

    Args:
        arguments: In place of stand-ins, or further ones, such as the components of a plugin's kind that a loss uses.
    """
    stand_ins: dict[str, Any] = {
        "seed": 0,
        "normalization": nn.BatchNorm2d,
        "layers": {},
        "resolution_m": 1.0,
        "thresholds": THRESHOLDS,
        "batch_per_device": 8,
        "gap_fraction": lambda: (0.05, 0.1, 0.3),
        "modules": [],
        "total_steps": 100,
        "steps_per_epoch": 10,
        "run_folder": Path(),
        "label": "example",
        "layer": "dsm",
    } | arguments
    known = KINDS[kind].arguments if kind in KINDS else stand_ins  # a plugin's kind lists what it gives itself
    stand_ins["gap_fraction"] = cache(stand_ins["gap_fraction"])  # counted once for all parts of a loss, as in a run
    # A lambda in a loop would see the last name only.
    available = {name: (lambda name=name: stand_ins[name]) for name in {**known, **arguments}}
    return build(kind, config, available)
