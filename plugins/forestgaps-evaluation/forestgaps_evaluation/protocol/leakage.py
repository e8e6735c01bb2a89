"""How much a random split would improve the scores.

In a random split, neighbors of every test tile are in the training data. This module does that on purpose: a random half of the
test tiles takes part in training. The other half is scored with this network and with the network of the spatial split. Tiles,
settings and number of steps are equal, so the difference is leakage.
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
from forestgaps_evaluation.protocol.comparison import compare_mean_iou
from forestgaps_evaluation.protocol.evaluation import Difference, Leakage

RECORD_FILE = "leakage.json"
SPLIT_SALT = 0x1EA4  # a different random sequence than in training


@frozen(eq=False)
class MixedSource:
    """Training samples, some of which are tiles of the test split, each as often as a training sample."""

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
        # Callbacks may use attributes of their data, for example to sample hard strata more often.
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
    """Data whose test tiles were divided between training and test."""

    resolution_m: float
    train: Source
    validation: Source
    test: Source


def split_in_half(count: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return tile numbers for training and for scoring, each ascending, sampled with the seed.

    Raises:
        DataError: There are fewer than two tiles.
    """
    if count < 2:
        raise DataError(
            f"leakage is measured on half of the test tiles, and the split has {format_count(count, 'tile')}. "
            "Prepare it with smaller tiles"
        )
    order = random_numbers(seed ^ SPLIT_SALT, 0, torch.arange(count)).argsort().tolist()
    return tuple(sorted(order[: count // 2])), tuple(sorted(order[count // 2 :]))


def mix_data(data: Data, seed: int) -> MixedData:
    """Raises: DataError: Training and test tiles differ in size, or there are too few."""
    added, kept = split_in_half(len(data.test), seed)
    sizes = [tuple(source.read(0, 0).dsm.shape) for source in (data.train, data.test)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"training tiles have {sizes[0]} pixels and test tiles {sizes[1]}, so they cannot be mixed. Prepare them with one size"
        )
    return MixedData(data.resolution_m, MixedSource(data.train, data.test, added), data.validation, SourceSubset(data.test, kept))


def check_folder(trained: TrainedNetwork, folder: Path) -> None:
    """
    Raises:
        ConfigError: The folder has other content, or the network is evaluated on other data than its own.
    """
    if not trained.own_data:
        raise ConfigError("leakage is measured on the data of the training. Omit --data and --set", "--leakage")
    if folder.exists() and read_record(folder) != make_record(trained):
        raise ConfigError(f"{folder} exists and is not a complete leakage run of {trained.run}. Give another folder", "--leakage")


def make_record(trained: TrainedNetwork) -> dict[str, Any]:
    return {"run": str(Path(trained.run).absolute()), "seed": trained.seed, "not_a_score": "trained on half of its test tiles"}


def measure_leakage(trained: TrainedNetwork, spatial: TileCounts, folder: Path, plugins: Plugins, *, resamples: int) -> Leakage:
    """Train the run again with half of its test tiles in the training data, and compare on the other half.

    Args:
        spatial: Counts of the run's test split.
        folder: Folder of the mixed network. A complete one of the same run is used again.

    Raises:
        ConfigError: The folder has other content, or the network is evaluated on other data than its own.
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
    found, _ = compare_mean_iou([evolve(mixed, index=same.index)], same, resamples=resamples)
    differences = tuple(
        Difference(
            threshold=row.threshold,
            evaluated=row.evaluated,
            spatial=row.baseline,
            mixed=row.network,
            difference=row.difference,
            low=row.low,
            high=row.high,
        )
        for row in found
    )
    return Leakage(run=trained.run, folder=str(folder), tiles=len(same), blocks=len(set(same.blocks)), differences=differences)


def select_tiles(tile_counts: TileCounts, indices: Sequence[int]) -> TileCounts:
    return tile_counts.select(np.isin(tile_counts.index, indices))


def train_mixed(config: Config, data: MixedData, folder: Path, plugins: Plugins) -> None:
    """Train with the settings of the run. No run file is written, because a run file cannot describe these data.

    Raises:
        ConfigError: Training was interrupted.
    """
    run = build_run(config, folder, plugins)
    run.data = run.trainer.data = data
    result = fit_run(run, folder)
    if result.stopped and result.stopped.startswith("interrupted"):
        raise ConfigError(f"the training for --leakage was {result.stopped}. Repeat the command to start it again", "--leakage")


def list_file_patterns(config: Config) -> list[str]:
    """Return patterns of the files of a training: the record, checkpoints, and the files of callbacks."""
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
