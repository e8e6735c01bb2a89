"""What a random split would have claimed, to know how much of such a score is memory of the place.

A random split of tiles puts neighbours of every test tile into training. Here that is done on purpose, and only that: half of the
test tiles, at random, take part in training; the other half is scored, by this network and by the one that never saw the place.
Same tiles, same settings, same number of steps: the difference is leakage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import define, evolve, frozen

from forestgaps_core.components import Data, Source, Tile
from forestgaps_core.config.run_file import Config
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.files.atomic import write_json
from forestgaps_core.files.bounded_reading import read_json
from forestgaps_core.files.drafts import literal, new_folder
from forestgaps_core.inference.predictor import checkpoint_of, load_predictor
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.builder import assemble
from forestgaps_core.runs.run import fit
from forestgaps_core.runtime.rng import draws, uniform
from forestgaps_evaluation.blocks import Blocked
from forestgaps_evaluation.evaluation import Leakage, differences
from forestgaps_evaluation.tallies import Tallies, counted
from forestgaps_evaluation.trained import Trained

RECORD = "leakage.json"
HALVING = 0x1EA4  # another sequence than those of training


@frozen(eq=False)
class Mixed:
    """Training samples, some of which are tiles of the test split: each as often as a training sample."""

    train: Source
    test: Source
    added: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train)

    def read(self, index: int, draw: int) -> Tile:
        kind, which = uniform(torch.tensor([draw]), "mixing", 2)[0].tolist()
        if kind < len(self.added) / (len(self.added) + len(self.train)):
            return self.test.read(self.added[int(which * len(self.added))], draw)
        return self.train.read(index, draw)

    def __getattr__(self, name: str) -> Any:
        # Callbacks may know the data they belong to, such as one that draws hard strata of it more often.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.train, name)


@frozen(eq=False)
class Some:
    """Some tiles of a source."""

    source: Source
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, draw: int) -> Tile:
        return self.source.read(self.indices[index], draw)

    def block(self, index: int) -> int | str:
        original = self.indices[index]
        return self.source.block(original) if isinstance(self.source, Blocked) else f"tile {original}"


@define(eq=False)
class MixedData:
    """Data whose test tiles have been shared out between training and test."""

    resolution_m: float
    train: Source
    validation: Source
    test: Source


def halves(count: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tile numbers for training and for scoring, each ascending, drawn by the seed.

    Raises:
        DataError: There are not two tiles.
    """
    if count < 2:
        raise DataError(
            f"leakage is measured on half of the test tiles, and the split has {format_count(count, 'tile')}; "
            "prepare it with smaller tiles"
        )
    order = draws(seed ^ HALVING, 0, torch.arange(count)).argsort().tolist()
    return tuple(sorted(order[: count // 2])), tuple(sorted(order[count // 2 :]))


def mixed_data(data: Data, seed: int) -> MixedData:
    """Raises: DataError: Training and test tiles differ in size, or there are too few."""
    added, kept = halves(len(data.test), seed)
    sizes = [tuple(source.read(0, 0).dsm.shape) for source in (data.train, data.test)]
    if sizes[0] != sizes[1]:
        raise DataError(f"training tiles are of {sizes[0]} pixels and test tiles of {sizes[1]}, so they cannot be mixed")
    return MixedData(data.resolution_m, Mixed(data.train, data.test, added), data.validation, Some(data.test, kept))


def check(trained: Trained, folder: Path) -> None:
    """
    Raises:
        ConfigError: The folder holds something else, or the network is judged on other data than those it was trained with.
    """
    if not trained.own_data:
        raise ConfigError("leakage is measured on the data a network was trained with; leave out --data and --set", "--leakage")
    if folder.exists() and recorded(folder) != record_of(trained):
        raise ConfigError(f"{folder} exists and is no finished leakage run of {trained.run}; give another folder", "--leakage")


def record_of(trained: Trained) -> dict[str, Any]:
    return {"run": str(Path(trained.run).absolute()), "seed": trained.seed, "not_a_score": "trained on half of its test tiles"}


def leakage(trained: Trained, spatial: Tallies, folder: Path, plugins: Plugins, *, resamples: int) -> Leakage:
    """Train the run once more with half of its test tiles among the training tiles, and compare on the other half.

    Args:
        spatial: Of the run's test split.
        folder: Where the mixed network is trained; one that an earlier call has finished for the same run is used again.

    Raises:
        ConfigError: The folder holds something else, or the network is judged on other data than those it was trained with.
    """
    check(trained, folder)
    data = mixed_data(trained.data, trained.seed)
    if not folder.exists():
        with new_folder(folder, purpose="evaluate --leakage", contents=files_of(trained.config)) as draft:
            train_mixed(trained.config, data, draft, plugins)
            write_json(draft / RECORD, record_of(trained))
    predictor = load_predictor(checkpoint_of(folder), device=trained.predictor.environment.device, plugins=plugins)
    mixed = counted(evolve(trained, run=str(folder), predictor=predictor, data=data), "test", spatial.thresholds.tolist())
    same = of_tiles(spatial, data.test.indices if isinstance(data.test, Some) else ())
    found = differences(same, evolve(mixed, index=same.index), resamples=resamples)
    return Leakage(run=trained.run, folder=str(folder), tiles=len(same), blocks=len(set(same.blocks)), differences=found)


def of_tiles(tallies: Tallies, indices: Sequence[int]) -> Tallies:
    return tallies.picked(np.isin(tallies.index, indices))


def train_mixed(config: Config, data: MixedData, folder: Path, plugins: Plugins) -> None:
    """As the run was trained. No run file is written: the data are not those that a run file could name.

    Raises:
        ConfigError: Training was interrupted.
    """
    run = assemble(config, folder, plugins)
    run.data = run.trainer.data = data
    result = fit(run, folder)
    if result.stopped and result.stopped.startswith("interrupted"):
        raise ConfigError(f"training for the leakage was {result.stopped}; the same command starts it again", "--leakage")


def files_of(config: Config) -> list[str]:
    """Return patterns of what training writes into a folder: the record, checkpoints, and by label what callbacks write."""
    labels = [literal(label) for label in config.callbacks]
    states = ("checkpoints/last.pt", "checkpoints/best.pt", f"checkpoints/best-epoch-{'[0-9]' * 4}.pt", "faults/step-[0-9]*.pt")
    return [RECORD, *states, *(f"{label}{ending}" for label in labels for ending in ("", ".jsonl", "_*s.csv", "/*"))]


def recorded(folder: Path) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return found
