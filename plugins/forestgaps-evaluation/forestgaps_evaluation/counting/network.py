"""A trained network, with the data on which it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, fields, has
from torch import Tensor

from forestgaps_core.components import Batch, Data, Source
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.reading import read_config
from forestgaps_core.config.run_file import REQUIRED, Config
from forestgaps_core.config.toml_files import read_table
from forestgaps_core.data.loader import TileLoader
from forestgaps_core.errors import ConfigError, DataError, ForestgapsError
from forestgaps_core.inference.input_layers import count_channels
from forestgaps_core.inference.model_folder import load_trained_network
from forestgaps_core.inference.model_lookup import RUN_FILE, is_run_folder
from forestgaps_core.inference.predictor import Predictor, load_predictor
from forestgaps_core.kinds import build
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.provenance import apply_recorded_names
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.run import read_run_config

SPLITS = ("train", "validation", "test")


@define(eq=False, kw_only=True)
class TrainedNetwork:
    """A network, loaded for evaluation.

    Attributes:
        run: The name that the user gave.
        checkpoint: File or folder of the weights.
        config: The run file with the data of the evaluation.
        table: The tables of its own run file; not all of them for a model folder.
        own_data: Whether it is evaluated on the data of its own run file.
        options: Command-line options that selected the checkpoint and the data.
    """

    run: str
    checkpoint: Path
    config: Config
    predictor: Predictor
    data: Data
    table: Mapping[str, Any] = field(factory=dict)
    own_data: bool = True
    options: Sequence[str | Path] = ()

    @property
    def seed(self) -> int:
        """Seed of the training; if unknown, that of `config`."""
        return int(self.table.get("environment", {}).get("seed", self.config.environment.seed))

    def source(self, split: str) -> Source:
        """Return the tiles of a split.

        Raises:
            ConfigError: The split does not exist.
            DataError: The split is empty.
        """
        if split not in SPLITS:
            raise ConfigError(f"found split {split!r}, expected one of: {', '.join(SPLITS)}", "evaluate")
        source: Source = getattr(self.data, split)
        if len(source) == 0:
            raise DataError(f"{self.run}: the {split} split of its data is empty")
        return source

    def loader(self, split: str) -> TileLoader:
        """Return a loader of all tiles of a split, in order, as in `forestgaps test`."""
        environment, device = self.config.environment, self.predictor.device
        return TileLoader(
            self.source(split),
            batch_size=self.config.training.batch_size,
            seed=environment.seed,
            workers=environment.loader_processes(device),
            pin_memory=device.type == "cuda",
            channels=count_channels(getattr(self.data, "layers", {})),
        )

    def logits(self, batch: Batch, levels: Sequence[float]) -> Tensor:
        """Return logits of the probabilities of `predict` (calibrated, monotone), (B, K, H, W) float32 on the device.

        Args:
            levels: Thresholds of the batch, equal for all samples. (Reading them from the device would synchronize.)
        """
        return self.predictor.on_device(batch.dsm, batch.valid, levels, layers=batch.layers).logit()

    def heights(self, batch: Batch) -> Tensor | None:
        """Canopy height, meters, (B, 1, H, W), of a network that also maps it: one with a method `format_heights(dsm, valid)`."""
        mapped = getattr(self.predictor.model, "predict_heights", None)
        if not callable(mapped):
            return None
        with torch.inference_mode(), self.predictor.environment.autocast(self.predictor.device):
            height: Tensor = mapped(batch.dsm, batch.valid, **({"layers": batch.layers} if batch.layers else {}))
        return height


def open_network(
    run: Path | str,
    *,
    device: str = "auto",
    checkpoint: str | None = None,
    data: Path | None = None,
    changes: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> TrainedNetwork:
    """Load a network and the data for its evaluation.

    Args:
        run: A run folder, a checkpoint file, a model folder or the name of an installed network.
        device: auto, cpu, cuda or mps.
        checkpoint: Name of the checkpoint; by default the best, or the last if there is no best.
        data: A prepared folder, run file or run folder, whose data are used instead of the run's own.
        changes: Changes of the data, such as `data.folder=elsewhere`. Relative paths start at the file `data`, if given, or at the
            working folder.

    Raises:
        CheckpointError: There is no trained network.
        ConfigError: There are no data, or a change is not one of the data.
    """
    plugins = plugins or Plugins.discover()
    path, state = load_trained_network(run, checkpoint, plugins)
    table = state["about"]["config"]
    predictor = load_predictor(run, device=device, checkpoint=checkpoint, plugins=plugins)
    predictor.environment.start()
    config = choose_config(
        Path(run), apply_recorded_names(table, state["about"], plugins), data, changes, plugins, list(predictor.layers)
    )
    chosen = (("--checkpoint", checkpoint), ("--data", data), *(("--set", change) for change in changes))
    options = [word for option, value in chosen if value is not None for word in (option, value)]
    made: Data = build("data", config.data, {"seed": lambda: config.environment.seed})
    require_layers(made, predictor)
    return TrainedNetwork(
        run=str(run),
        checkpoint=path,
        table=table,
        config=config,
        own_data=data is None and not changes,
        options=options,
        predictor=predictor,
        data=made,
    )


def require_layers(data: Data, predictor: Predictor) -> None:
    """
    Raises:
        ConfigError: The network needs other further layers than the data have.
    """
    found = count_channels(getattr(data, "layers", {}))
    expected = count_channels(predictor.layers)
    if found != expected:
        raise ConfigError(
            f"data.layers: the network needs {describe_channels(expected)}, the data have {describe_channels(found)}; choose data "
            f"that have them, with --set 'data.layers={list(expected)}'",
            "evaluate",
        )


def describe_channels(channels: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} ({format_count(count, 'channel')})" for name, count in channels.items()) or "none"


def choose_config(
    run: Path,
    table: Mapping[str, Any],
    data: Path | None,
    changes: Sequence[str],
    plugins: Plugins,
    layers: Sequence[str] = (),
) -> Config:
    """Return the config of `data`, or else of the run folder, or else of the checkpoint, with changed data."""
    wrong = [f"{change}: only the data may be changed: data.KEY=VALUE" for change in changes if not change.startswith("data.")]
    if wrong:
        raise ConfigError(wrong, "--set")
    place = data or run
    if place.is_dir() and is_run_folder(place) and not changes:
        return read_run_config(place, plugins)
    file = place / RUN_FILE if place.is_dir() else place
    required: Sequence[str] = REQUIRED
    if data is not None and data.is_dir() and not is_run_folder(data):
        table, required = {**table, "data": make_data_table(data, plugins, layers)}, ("data",)
    elif data is not None or (file.name == RUN_FILE and file.is_file()):
        table = read_table(file)
    elif "data" not in table and not changes:
        raise DataError(
            f"{run} is a trained network without data. Add --data FOLDER: a prepared folder, a run folder or a run file"
        )
    elif "data" not in table:
        required = ("data",)
    folder = Path.cwd() if data is None or data.is_dir() else data.parent
    return read_config(apply_overrides(table, changes), plugins, source=str(file), folder=folder, required=required)


def make_data_table(folder: Path, plugins: Plugins, layers: Sequence[str] = ()) -> dict[str, Any]:
    """Return the table [data] for a folder that an installed package reads, such as one of `forestgaps prepare`.

    Args:
        layers: Further layers that the network needs.

    Raises:
        ForestgapsError: No package reads it, or several do.
    """
    found, problems = [], []
    for name, offers in plugins.components("data").items():
        for component in offers:
            table: dict[str, Any] = {
                "name": name if len(offers) == 1 else f"{component.plugin.distribution}:{name}",
                "folder": str(folder.absolute()),
            }
            config_class = component.load()
            settings = {part.name for part in fields(config_class)} if has(config_class) else set()
            if "folder" not in settings:
                continue
            further = {"layers": tuple(layers)} if layers and "layers" in settings else {}
            table |= {key: list(names) for key, names in further.items()}
            try:
                build("data", config_class(folder=folder, **further), {"seed": lambda: 0})
                found.append(table)
            except ForestgapsError as error:
                problems.append(str(error))
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"--set data.name={table['name']}" for table in found)
        raise ConfigError(f"{folder} can be read as several kinds of data; choose with {names}", "--data")
    reason = problems[0] if len(problems) == 1 else f"{folder}: no installed package reads this folder"
    raise DataError(f"--data {reason}. Name a folder that forestgaps prepare wrote, a run folder or a run file")


def note_pixel_sizes(networks: Sequence[TrainedNetwork]) -> list[str]:
    """Return a note for each network that is evaluated at a different pixel size."""
    return [
        f"{one.run} was trained at {one.predictor.resolution_m:g} m and is evaluated on pixels of {one.data.resolution_m:g} m"
        for one in networks
        if abs(one.data.resolution_m / one.predictor.resolution_m - 1) > 1e-3
    ]
