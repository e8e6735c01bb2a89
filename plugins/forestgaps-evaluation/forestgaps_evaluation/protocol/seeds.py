"""Train one run file with several seeds, to measure the effect of the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forestgaps_core.config.reading import load_config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.run import read_run_config, resume_training, train_model
from forestgaps_evaluation.counting.network import TrainedNetwork

SEED_SETTING = "environment.seed"


MAX_SEED_DIGITS = 18  # of a seed; 64 bits


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of an option.

    Raises:
        ConfigError: They are not different whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= MAX_SEED_DIGITS for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ConfigError(f"found {text!r}, expected different whole numbers. Give them as 1,2,3", "--seeds")
    return tuple(map(int, parts))


def train_seeds(run_file: Path, seeds: Sequence[int], folder: Path, plugins: Plugins) -> list[Path]:
    """Train a run file once for each seed, in `folder/seed-N`; existing runs are resumed, or used if they are complete.

    Raises:
        ConfigError: A folder of that name holds another run, or training was interrupted.
    """
    runs = []
    for seed in seeds:
        config = load_config(run_file, overrides=[f"{SEED_SETTING}={seed}"], plugins=plugins)
        run = folder / f"seed-{seed}"
        if not run.exists():
            result = train_model(config, run, plugins=plugins)
        else:
            apart = list_differences([make_table(config, plugins), make_table(read_run_config(run, plugins), plugins)])
            if apart:
                raise ConfigError(
                    f"{run} is not a run of {run_file}: they differ in {', '.join(apart)}. Give another --out", "--train"
                )
            result = resume_training(run, plugins=plugins)
        if result.stopped and result.stopped.startswith("interrupted"):
            raise ConfigError(f"{run} was {result.stopped}. Repeat the command to resume it", "--train")
        runs.append(run)
    return runs


def list_differences(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that differ between resolved run files, such as `training.epochs (2, 3)`, without the seed."""
    flat = [flatten_table(table) for table in tables]
    names = sorted({name for one in flat for name in one} - {SEED_SETTING})
    absent = "not set"
    found = {name: [one.get(name, absent) for one in flat] for name in names}
    return [f"{name} ({', '.join(map(str, values))})" for name, values in found.items() if any(v != values[0] for v in values)]


def flatten_table(table: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten_table(value, f"{place}{key}.") if isinstance(value, Mapping) else {f"{place}{key}": value}
    return flat


def note_seeds(networks: Sequence[TrainedNetwork]) -> list[str]:
    """Return notes on runs that differ in more than their seed, or have the same seed."""
    notes = []
    apart = list_differences([one.table for one in networks])
    if apart:
        notes.append(f"the runs differ in more than their seed, so the spread is not only that of seeds: {'; '.join(apart)}")
    seeds = [one.seed for one in networks]
    if len(set(seeds)) < len(seeds):
        notes.append(f"some runs have the same seed ({', '.join(map(str, seeds))})")
    return notes
