"""A run file of seconds with simulated landscapes, which tests change table by table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INTERRUPT = Path(__file__).with_name("interrupting.py")  # a plugin with the callback `interrupt`
SMALL_RUN: Mapping[str, Mapping[str, Any]] = {
    "data": {
        "name": "landscapes",
        "train": 1,
        "validation": 1,
        "test": 1,
        "size_px": 48,
        "tile_px": 32,
        "samples_per_epoch": 4,
    },
    "thresholds": {"values": [2, 5, 10]},
    "model": {"name": "unet", "base": 4, "depth": 2},
    "normalization": {"name": "group"},
    "loss": {"name": "bce"},
    "training": {"epochs": 1, "batch_size": 2},
    "metrics.gaps": {"name": "segmentation"},
    "environment": {"device": "cpu", "threads": 1},
}


def make_small_run(changes: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the text of the run file with other values in its tables, and further tables."""
    tables = {name: dict(table) for name, table in SMALL_RUN.items()}
    for name, table in (changes or {}).items():
        tables.setdefault(name, {}).update(table)
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""])
        for name, table in tables.items()
    )
