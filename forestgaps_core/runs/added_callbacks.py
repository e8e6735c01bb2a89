"""Callbacks that are added to a run when it is resumed: which changes are allowed, and the record of them in the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from forestgaps_core.config.mistakes import format_key
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.errors import ConfigError
from forestgaps_core.files.atomic import write_text
from forestgaps_core.files.safe_opening import read_json
from forestgaps_core.inference.model_lookup import RUN_FILE
from forestgaps_core.runs.builder import BuiltRun
from forestgaps_core.training.declared_changes import read_changes

FILE = "added_callbacks.json"


def add_callbacks(table: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return the tables of a run with further callbacks.

    Args:
        changes: Such as `callbacks.norms.name=monitor`, as for `--set`.

    Raises:
        ConfigError: They change more than that: every place at once.
    """
    changed = apply_overrides(table, changes)
    problems = [
        f"{format_key(section)}: a resumed run keeps its settings; only callbacks can be added, by callbacks.LABEL.name=NAME"
        for section in changed
        if section != "callbacks" and changed[section] != table.get(section)
    ]
    before, after = table.get("callbacks", {}), changed.get("callbacks", {})
    problems += [
        f"callbacks.{format_key(label)}: a resumed run keeps this callback as it is; give the one to add another label"
        for label in before
        if after.get(label) != before[label]
    ]
    if problems:
        raise ConfigError(problems, "train --resume")
    return changed


def record_callbacks(run: BuiltRun, folder: Path, labels: Sequence[str]) -> None:
    """Write callbacks into the run file, and into `added_callbacks.json` with what they change and since when they take part."""
    import tomli_w

    trainer, callbacks = run.trainer, run.trainer.events.callbacks
    config = trainer.about["config"]
    added = read_added(folder)
    for label in labels:
        changes = read_changes(callbacks[label], partial(str, f"callbacks.{label}"))
        name = config["callbacks"][label]["name"]
        added[label] = {"name": name, "changes": sorted(changes), "since": {"epoch": trainer.epoch, "step": trainer.step}}
    # First the record: a callback that only the run file has looks like one whose state was lost.
    write_text(folder / FILE, json.dumps(added, indent=2) + "\n")
    write_text(folder / RUN_FILE, tomli_w.dumps(config))


def read_added(folder: Path) -> dict[str, Any]:
    """Return the record of callbacks that were added to a run, by label; empty if there is none."""
    try:
        added = read_json(folder / FILE)
    except (OSError, ValueError):
        return {}
    return dict(added) if isinstance(added, Mapping) else {}
