"""What a random split would have claimed, to know how much of such a score is memory of the place.

A random split of tiles puts neighbors of every test tile into training. Here that is done on purpose, and only that: half of the
test tiles, at random, take part in training; the other half is scored, by this network and by the one that never saw the place.
Same tiles, same settings, same number of steps: the difference is leakage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import define, evolve, frozen

from forestgaps_core.components import Data, Source, Tile
from forestgaps_core.config.run_file import Config
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.files.atomic import write_json
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.files.safe_opening import read_json
from forestgaps_core.inference.predictor import find_checkpoint, load_predictor
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.builder import build_run
from forestgaps_core.runs.run import fit_run
from forestgaps_core.runtime.rng import random_numbers, uniform
from forestgaps_evaluation.counting.locations import HasBlocks
from forestgaps_evaluation.counting.network import TrainedNetwork
from forestgaps_evaluation.counting.tile_counts import TileCounts, count_split
from forestgaps_evaluation.protocol.evaluation import Leakage, compare_mean_iou

RECORD_FILE = "leakage.json"
SPLIT_SALT = 0x1EA4  # another sequence than those of training


@frozen(eq=False)
class MixedSource:
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
class SourceSubset:
    """Some tiles of a source."""

    source: Source
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, draw: int) -> Tile:
        return self.source.read(self.indices[index], draw)

    def block(self, index: int) -> int | str:
        original = self.indices[index]
        return self.source.block(original) if isinstance(self.source, HasBlocks) else f"tile {original}"


@define(eq=False)
class MixedData:
    """Data whose test tiles have been shared out between training and test."""

    resolution_m: float
    train: Source
    validation: Source
    test: Source


def split_in_half(count: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tile numbers for training and for scoring, each ascending, drawn by the seed.

    Raises:
        DataError: There are not two tiles.
    """
    if count < 2:
        raise DataError(
            f"leakage is measured on half of the test tiles, and the split has {format_count(count, 'tile')}; "
            "prepare it with smaller tiles"
        )
    order = random_numbers(seed ^ SPLIT_SALT, 0, torch.arange(count)).argsort().tolist()
    return tuple(sorted(order[: count // 2])), tuple(sorted(order[count // 2 :]))


def mix_data(data: Data, seed: int) -> MixedData:
    """Raises: DataError: Training and test tiles differ in size, or there are too few."""
    added, kept = split_in_half(len(data.test), seed)
    sizes = [tuple(source.read(0, 0).dsm.shape) for source in (data.train, data.test)]
    if sizes[0] != sizes[1]:
        raise DataError(f"training tiles are of {sizes[0]} pixels and test tiles of {sizes[1]}, so they cannot be mixed")
    return MixedData(data.resolution_m, MixedSource(data.train, data.test, added), data.validation, SourceSubset(data.test, kept))


def check_folder(trained: TrainedNetwork, folder: Path) -> None:
    """
    Raises:
        ConfigError: The folder holds something else, or the network is evaluated on other data than those it was trained with.
    """
    if not trained.own_data:
        raise ConfigError("leakage is measured on the data a network was trained with; leave out --data and --set", "--leakage")
    if folder.exists() and read_record(folder) != make_record(trained):
        raise ConfigError(f"{folder} exists and is no finished leakage run of {trained.run}; give another folder", "--leakage")


def make_record(trained: TrainedNetwork) -> dict[str, Any]:
    return {"run": str(Path(trained.run).absolute()), "seed": trained.seed, "not_a_score": "trained on half of its test tiles"}


def measure_leakage(trained: TrainedNetwork, spatial: TileCounts, folder: Path, plugins: Plugins, *, resamples: int) -> Leakage:
    """Train the run once more with half of its test tiles among the training tiles, and compare on the other half.

    Args:
        spatial: Of the run's test split.
        folder: Where the mixed network is trained; one that an earlier call has finished for the same run is used again.

    Raises:
        ConfigError: The folder holds something else, or the network is evaluated on other data than those it was trained with.
    """
    check_folder(trained, folder)
    data = mix_data(trained.data, trained.seed)
    if not folder.exists():
        with new_folder(folder, purpose="evaluate --leakage", contents=list_file_patterns(trained.config)) as draft:
            train_mixed(trained.config, data, draft, plugins)
            write_json(draft / RECORD_FILE, make_record(trained))
    predictor = load_predictor(find_checkpoint(folder), device=trained.predictor.environment.device, plugins=plugins)
    mixed = count_split(evolve(trained, run=str(folder), predictor=predictor, data=data), "test", spatial.thresholds.tolist())
    same = select_tiles(spatial, data.test.indices if isinstance(data.test, SourceSubset) else ())
    found = compare_mean_iou(same, evolve(mixed, index=same.index), resamples=resamples)
    return Leakage(run=trained.run, folder=str(folder), tiles=len(same), blocks=len(set(same.blocks)), differences=found)


def select_tiles(tile_counts: TileCounts, indices: Sequence[int]) -> TileCounts:
    return tile_counts.select(np.isin(tile_counts.index, indices))


def train_mixed(config: Config, data: MixedData, folder: Path, plugins: Plugins) -> None:
    """As the run was trained. No run file is written: the data are not those that a run file could name.

    Raises:
        ConfigError: Training was interrupted.
    """
    run = build_run(config, folder, plugins)
    run.data = run.trainer.data = data
    result = fit_run(run, folder)
    if result.stopped and result.stopped.startswith("interrupted"):
        raise ConfigError(f"training for the leakage was {result.stopped}; the same command starts it again", "--leakage")


def list_file_patterns(config: Config) -> list[str]:
    """Return patterns of what training writes into a folder: the record, checkpoints, and by label what callbacks write."""
    labels = [escape(label) for label in config.callbacks]
    states = (
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        f"checkpoints/best-epoch-{'[0-9]' * 4}.safetensors",
        "faults/step-[0-9]*.safetensors",
    )
    return [RECORD_FILE, *states, *(f"{label}{ending}" for label in labels for ending in ("", ".jsonl", "_*s.csv", "/*"))]


def read_record(folder: Path) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = read_json(folder / RECORD_FILE)
    except (OSError, ValueError):
        return None
    return found
