"""Build a run from its config: data, network, loss, optimizer, schedule, metrics and callbacks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from attrs import define
from torch import nn

from forestgaps_core.components import Data, InputLayer, Source
from forestgaps_core.config.converter import unstructure
from forestgaps_core.config.mistakes import format_value
from forestgaps_core.config.overrides import is_same_component
from forestgaps_core.config.run_file import Config
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.config.writing import make_table
from forestgaps_core.contracts import CheckedAugmentation, LayerFactory
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.data.loader import Share, TileLoader
from forestgaps_core.errors import ConfigError, DataError, PluginError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.safe_opening import MAX_WEIGHTS_BYTES, read_bytes
from forestgaps_core.inference.input_layers import count_channels, record_layers, require_layer_model
from forestgaps_core.inference.model_folder import WEIGHTS, compute_sha256, load_trained_network
from forestgaps_core.inference.predictor import read_recorded_component
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.component_builder import Arguments, ComponentBuilder, describe_class, offer_further
from forestgaps_core.runtime.distributed import ALONE, find_processes
from forestgaps_core.training.nonfinite_report import FOLDER as FAULTS
from forestgaps_core.training.optimizer_step import constant_rate
from forestgaps_core.training.state import list_modules
from forestgaps_core.training.trainer import Trainer
from forestgaps_core.version import __version__

SAMPLED_TILES = 256  # enough for a gap fraction to two digits


@define(eq=False, kw_only=True)
class BuiltRun:
    """A run with all its parts."""

    config: Config
    data: Data
    trainer: Trainer
    device: torch.device
    augmentations: Sequence[CheckedAugmentation] = ()

    def loader(self, split: str) -> TileLoader:
        source: Source = getattr(self.data, split)
        if len(source) == 0:
            raise DataError(f"the {split} split of the data is empty; choose data that have one")
        training, here = split == "train", self.trainer.processes
        environment = self.config.environment
        return TileLoader(
            source,
            batch_size=self.config.training.batch_size,
            seed=environment.seed,
            shuffle=training,
            workers=environment.loader_processes(self.device),
            pin_memory=self.device.type == "cuda",
            share=Share("samples" if training else "batches", here.rank, here.count),
            channels=count_channels(getattr(self.data, "layers", {})),
        )


def build_run(config: Config, folder: Path, plugins: Plugins, *, training: bool = True, rehearsal: bool = False) -> BuiltRun:
    """Build data, network, loss, optimizer, schedule, metrics and callbacks.

    Args:
        folder: Where callbacks may write.
        training: False leaves out what only training needs.
        rehearsal: True builds callbacks that write to a server, and leaves them out.
    """
    device = config.environment.start()
    components = ComponentBuilder(config, plugins)
    build = components.build
    data: Data = build("data", config.data, {"seed": lambda: config.environment.seed})
    levels, length = config.thresholds.values, config.training
    parts: dict[str, Any] = {}
    further: dict[str, Any] = {}
    batches = -(-len(data.train) // length.batch_size) if training else 0
    steps = -(-batches // length.accumulate)
    lengths = {"total_steps": lambda: steps * length.epochs, "steps_per_epoch": lambda: steps}
    if training:
        further = components.build_further(
            {
                **lengths,
                "data": lambda: data,
                "seed": lambda: config.environment.seed,
                "resolution_m": lambda: data.resolution_m,
                "thresholds": lambda: levels,
                "batch_per_device": lambda: length.batch_size,
                "run_folder": lambda: folder,
            }
        )
        for module in list_modules(further):
            module.to(device)
    layers: Mapping[str, InputLayer] = getattr(data, "layers", {})
    require_layer_model(config.model, layers, plugins)
    model = build(
        "model",
        config.model,
        {
            "layers": lambda: layers,
            "resolution_m": lambda: data.resolution_m,
            "thresholds": lambda: levels,
            "normalization": lambda: build_normalization(components),
        },
    ).to(device)
    if training:
        share = cache(partial(measure_gap_fraction, data.train, levels))  # counted once for all parts of a loss
        of_loss: Arguments = {"thresholds": lambda: levels, "gap_fraction": lambda: share}
        loss = build("loss", config.loss, offer_further("loss", of_loss, further))
        if isinstance(loss, nn.Module):
            loss.to(device)
        parts = {
            "loss": loss,
            "optimizer": build_optimizer(components, [model, loss] if isinstance(loss, nn.Module) else [model]),
            "scheduler": build("scheduler", config.scheduler, lengths) if config.scheduler else constant_rate,
            "callbacks": build_callbacks(components, folder, further),
            "further": further,
        }
        if rehearsal:
            parts["callbacks"] = {
                label: callback for label, callback in parts["callbacks"].items() if not getattr(callback, "remote", False)
            }
    augmentations = build_augmentations(components, data) if training else []
    trainer = Trainer(
        model=model,
        last=folder / "checkpoints" / "last.safetensors",
        data=data,
        metrics=components.build_metrics(data.resolution_m),
        make_train_batch=BatchMaker(thresholds=config.thresholds, augmentations=augmentations),
        make_evaluation_batch=BatchMaker(thresholds=Thresholds(values=levels)),
        environment=config.environment,
        accumulate=length.accumulate,
        max_gradient_norm=length.max_gradient_norm,
        max_gradient_value=length.max_gradient_value,
        nonfinite=length.nonfinite,
        check_every=length.check_every,
        callback_errors=length.callback_errors,
        check_changes=rehearsal,
        faults=folder / FAULTS,
        processes=find_processes() if training else ALONE,
        about=describe_run(components, data),
        **parts,
    )
    return BuiltRun(config=config, data=data, trainer=trainer, device=device, augmentations=augmentations)


def build_normalization(builder: ComponentBuilder) -> Any:
    config = builder.config
    if config.normalization is None:
        raise ConfigError('normalization: the model asks for one; add [normalization] with name = "adaptive", say')
    factory = builder.build("normalization", config.normalization, {"batch_per_device": lambda: config.training.batch_size})
    return LayerFactory(factory, partial(describe_class, "normalization", config.normalization))


def build_augmentations(builder: ComponentBuilder, data: Data) -> list[CheckedAugmentation]:
    return [
        CheckedAugmentation(
            builder.build("augmentations", chosen, {"resolution_m": lambda: data.resolution_m}, label),
            partial(describe_class, f"augmentations.{label}", chosen),
        )
        for label, chosen in builder.config.augmentations.items()
    ]


def build_callbacks(builder: ComponentBuilder, folder: Path, further: Mapping[str, Any]) -> dict[str, Any]:
    built = {}
    for label, chosen in builder.config.callbacks.items():
        arguments: Arguments = {"run_folder": lambda: folder, "label": partial(str, label)}
        built[label] = builder.build("callbacks", chosen, offer_further("callbacks", arguments, further), label)
    return built


def build_optimizer(builder: ComponentBuilder, modules: list[nn.Module]) -> Any:
    if builder.config.optimizer is None:
        raise ConfigError('optimizer: a training needs one; add [optimizer] with name = "adamw", say')
    if not any(parameter.requires_grad for module in modules for parameter in module.parameters()):
        raise ConfigError("model: it has no parameters to train, so map with it without training")
    optimizer = builder.build("optimizer", builder.config.optimizer, {"modules": lambda: modules})
    check_parameters(optimizer, modules)
    return optimizer


def check_parameters(optimizer: Any, modules: Sequence[nn.Module]) -> None:
    """Refuse an optimizer that leaves out a parameter, or whose state could not be loaded when the run is resumed.

    Raises:
        PluginError: Names the parameters.
    """
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    left_out = [
        name
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and id(parameter) not in moved
    ]
    words = f"the optimizer {type(optimizer).__qualname__}"
    if left_out:
        names = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
        raise PluginError(f"{words} does not move the parameters {names}; put each parameter into one of its groups, or freeze it")
    state = optimizer.state_dict()
    if not isinstance(state, Mapping) or not isinstance(state.get("param_groups"), list):
        raise PluginError(f"{words}: its state_dict has no param_groups, so a run could not be resumed; return torch's state_dict")


def measure_gap_fraction(source: Source, thresholds: tuple[float, ...]) -> tuple[float, ...]:
    """Share of valid pixels below each threshold, over up to `SAMPLED_TILES` samples; NaN without a valid pixel."""
    below, pixels = torch.zeros(len(thresholds), dtype=torch.int64), 0
    stride = max(1, len(source) // SAMPLED_TILES)
    for index in range(0, len(source), stride):
        tile = source.read(index, index)
        heights = tile.height[tile.valid]
        below += (heights[:, None] < torch.tensor(thresholds)).sum(0)
        pixels += heights.numel()
    return tuple((below / pixels).tolist()) if pixels else (float("nan"),) * len(thresholds)


def describe_run(builder: ComponentBuilder, data: Data) -> dict[str, Any]:
    """Plain values for checkpoints: enough to build the network again and to say what is missing when that fails."""
    return {
        "config": make_table(builder.config, builder.plugins),
        "resolution_m": float(data.resolution_m),
        "components": builder.describe(),
        "versions": {"forestgaps-core": __version__, "torch": str(torch.__version__)},
        **record_layers(getattr(data, "layers", {})),
    }


# --- weights to begin with ------------------------------------------------------------------------------------------


def load_start_weights(run: BuiltRun, plugins: Plugins) -> None:
    """Put the weights that `training.start` names into the network; optimizer and schedule restart.

    Raises:
        ConfigError: They are of another network; says what differs, and how to make the run file agree.
        CheckpointError: There are no such weights.
    """
    start = run.config.training.start
    if start is None:
        return
    path, state = load_trained_network(start, plugins=plugins)
    mine, theirs = run.trainer.about["config"], state["about"]["config"]
    problems, changes = [], []
    for kind in ("model", "normalization"):
        if kind in theirs:
            config, names = read_recorded_component(theirs, kind, state["about"], plugins, path)
            there = unstructure(config, names, kind)
            found, settings = list_differences(mine.get(kind, {}), there, kind)
            problems += found
            changes += settings
    source = f"training.start = {start!r}"
    if problems:
        problems[-1] += f"\n  so that the run file agrees: {' '.join(changes)}"
        raise ConfigError(problems, source)
    try:
        run.trainer.model.load_state_dict(choose_weights(state))
    except RuntimeError as error:
        sizes = mine["training"]["batch_size"], theirs["training"]["batch_size"]
        reason = f"the weights do not fit: {' '.join(str(error).split())[:300]}"
        if sizes[0] != sizes[1]:
            reason += f". A normalization may depend on training.batch_size: found {sizes[0]}, the network has {sizes[1]}"
        raise ConfigError(reason, source) from error
    weights = path / WEIGHTS if path.is_dir() else path
    about = {
        "place": start,
        "sha256": compute_sha256(read_bytes(weights, MAX_WEIGHTS_BYTES)),
        "resolution_m": float(state["about"]["resolution_m"]),
    }
    run.trainer.about = {**run.trainer.about, "start": about}


def list_differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], place: str) -> tuple[list[str], list[str]]:
    """What differs between two tables of a component: sentences, and the options that make `mine` like `theirs`."""
    here, there = flatten(mine, place), flatten(theirs, place)
    names = [str(rows.get(f"{place}.name", "none")) for rows in (here, there)]
    another = not is_same_component(*names)
    if not another or names[0].rpartition(":")[2] != names[1].rpartition(":")[2]:  # the packages tell nothing
        here[f"{place}.name"], there[f"{place}.name"] = (name.rpartition(":")[2] for name in names)
    differing = [key for key in {**there, **here} if here.get(key) != there.get(key)]
    wanted = there if another else {key: there[key] for key in differing if key in there}
    reported = [f"{place}.name"] if another else differing  # the settings of one component mean nothing to another
    sentences = [f"{key}: found {format_value(here.get(key))}, the network has {format_value(there.get(key))}" for key in reported]
    options = [f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in wanted.items()]
    return sentences, options if differing else []


def flatten(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in table.items():
        rows |= flatten(value, f"{place}.{key}") if isinstance(value, Mapping) else {f"{place}.{key}": value}
    return rows
