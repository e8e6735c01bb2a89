"""A run from its config: build everything, train, test, resume."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attrs import define, frozen
from torch import nn

from forestgaps_core import __version__
from forestgaps_core.batches import BatchMaker, Thresholds
from forestgaps_core.calibration import Calibration, LogitCounts
from forestgaps_core.checkpoint import checkpoint_of, load_checkpoint, newest_checkpoint, weights_to_use
from forestgaps_core.components import Data, Source, Tiles, build
from forestgaps_core.config import Config, components_of, config_from, plugins_of, read_table, table_of
from forestgaps_core.errors import CheckpointError, ConfigError, DataError
from forestgaps_core.loading import TileLoader
from forestgaps_core.networks import WEIGHTS, digest, is_network, trained_network
from forestgaps_core.plugins import Plugins
from forestgaps_core.predictor import chosen_in
from forestgaps_core.structuring import shown, unstructure
from forestgaps_core.trainer import Trainer, constant_rate

RUN_FILE = "run.toml"
SAMPLED_TILES = 256  # enough for a gap share to two digits


@frozen(kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        folder: Of the run.
        epoch: Completed epochs.
        stopped: Why it stopped early, or None.
        scores: Of the last epoch, `split/label/value`; empty if none was completed in this process.
    """

    folder: Path
    epoch: int
    stopped: str | None
    scores: Mapping[str, float]


@define(eq=False, kw_only=True)
class Assembled:
    """A run with all its parts."""

    config: Config
    data: Data
    trainer: Trainer
    device: torch.device

    def loader(self, split: str) -> TileLoader:
        source: Source = getattr(self.data, split)
        if len(source) == 0:
            raise DataError(f"the {split} split of the data is empty")
        training = split == "train"
        environment = self.config.environment
        return TileLoader(
            source,
            batch_size=self.config.training.batch_size,
            seed=environment.seed,
            shuffle=training,
            workers=environment.loader_processes(self.device),
            pin_memory=self.device.type == "cuda",
        )


def assemble(config: Config, folder: Path, plugins: Plugins, *, training: bool = True) -> Assembled:
    """Build data, network, loss, optimizer, schedule, metrics and callbacks.

    Args:
        folder: Where callbacks may write.
        training: False leaves out what only training needs.
    """
    device = config.environment.start()
    data: Data = build("data", config.data, {"seed": lambda: config.environment.seed})
    levels, length = config.thresholds.values, config.training
    model = build(
        "model",
        config.model,
        {
            "resolution_m": lambda: data.resolution_m,
            "thresholds": lambda: levels,
            "normalization": lambda: normalization_of(config),
        },
    ).to(device)
    maker = partial(BatchMaker, resolution_m=data.resolution_m)
    parts: dict[str, Any] = {}
    if training:
        share = partial(gap_share, data.train, levels)
        loss = build("loss", config.loss, {"thresholds": lambda: levels, "gap_share": lambda: share})
        if isinstance(loss, nn.Module):
            loss.to(device)
        batches = -(-len(data.train) // length.batch_size)
        steps = -(-batches // length.accumulate)
        parts = {
            "loss": loss,
            "optimizer": config.optimizer.build([model, loss]),
            "scheduler": build(
                "scheduler", config.scheduler, {"total_steps": lambda: steps * length.epochs, "steps_per_epoch": lambda: steps}
            )
            if config.scheduler
            else constant_rate,
            "callbacks": {
                label: build("callbacks", chosen, {"run_folder": lambda: folder, "label": partial(str, label)})
                for label, chosen in config.callbacks.items()
            },
        }
    trainer = Trainer(
        model=model,
        last=folder / "checkpoints" / "last.pt",
        data=data,
        metrics={
            label: partial(build, "metrics", chosen, {"resolution_m": lambda: data.resolution_m})
            for label, chosen in config.metrics.items()
        },
        train_batch=maker(thresholds=config.thresholds, augmentation=config.augmentation),
        evaluation_batch=maker(thresholds=Thresholds(values=levels)),
        environment=config.environment,
        accumulate=length.accumulate,
        max_gradient_norm=length.max_gradient_norm,
        max_gradient_value=length.max_gradient_value,
        about=about(config, plugins, data),
        **parts,
    )
    return Assembled(config=config, data=data, trainer=trainer, device=device)


def normalization_of(config: Config) -> Any:
    if config.normalization is None:
        raise ConfigError('normalization: the model asks for one; add [normalization] with name = "adaptive", say')
    return build("normalization", config.normalization, {"batch_per_device": lambda: config.training.batch_size})


def gap_share(source: Source, thresholds: tuple[float, ...]) -> tuple[float, ...]:
    """Share of valid pixels below each threshold, over up to `SAMPLED_TILES` samples; NaN without a valid pixel."""
    below, pixels = torch.zeros(len(thresholds), dtype=torch.int64), 0
    stride = max(1, len(source) // SAMPLED_TILES)
    for index in range(0, len(source), stride):
        tile = source.read(index, index)
        heights = tile.height[tile.valid]
        below += (heights[:, None] < torch.tensor(thresholds)).sum(0)
        pixels += heights.numel()
    return tuple((below / pixels).tolist()) if pixels else (float("nan"),) * len(thresholds)


def about(config: Config, plugins: Plugins, data: Data) -> dict[str, Any]:
    """Plain values for checkpoints: enough to build the network again and to say what is missing when that fails."""
    return {
        "config": table_of(config, plugins),
        "resolution_m": float(data.resolution_m),
        "components": {
            place: {"name": component.name, "distribution": component.plugin.distribution, "version": component.plugin.version}
            for place, component in components_of(config, plugins).items()
        },
        "versions": {"forestgaps-core": __version__, "torch": str(torch.__version__)},
    }


# --- training -------------------------------------------------------------------------------------------------------


def train_model(config: Config, folder: Path | str, *, plugins: Plugins | None = None) -> Result:
    """Train from the start: from random weights, or from those that `training.start` names.

    Args:
        folder: The run folder to make; it must not exist.

    Raises:
        ConfigError: The folder exists, or the weights to start from are of another network.
    """
    plugins, folder = plugins or Plugins.discover(), Path(folder)
    if folder.exists():
        raise ConfigError(f"the run folder {folder} exists; give another, or go on with it by --resume {folder}", "train")
    run = assemble(config, folder, plugins)
    begin(run, plugins)
    write_run_folder(run, folder, plugins)
    return fit(run, folder)


def resume_training(folder: Path | str, *, plugins: Plugins | None = None) -> Result:
    """Go on with a run from its newest intact checkpoint, or from the start if it has none yet.

    Raises:
        CheckpointError: Not a run folder, or its checkpoint belongs to something else.
    """
    folder = Path(folder)
    if not (folder / RUN_FILE).is_file():
        raise CheckpointError(f"{folder} is no run folder: there is no {RUN_FILE}")
    plugins = plugins or Plugins.discover()
    config = config_of(folder, plugins)
    run = assemble(config, folder, plugins)
    if any((folder / "checkpoints").glob("*.pt")):
        _, state = newest_checkpoint(folder)
        run.trainer.load_state_dict(state)
        if started := state["about"].get("start"):  # its weights are no longer needed, where they came from is still told
            run.trainer.about = {**run.trainer.about, "start": started}
    else:
        begin(run, plugins)
    return fit(run, folder)


def begin(run: Assembled, plugins: Plugins) -> None:
    """Put the weights that `training.start` names into the network; optimizer and schedule begin anew.

    Raises:
        ConfigError: They are of another network; says what differs, and how to make the run file agree.
        CheckpointError: There are no such weights.
    """
    start = run.config.training.start
    if start is None:
        return
    path, state = trained_network(start, plugins=plugins)
    mine, theirs = run.trainer.about["config"], state["about"]["config"]
    problems, changes = [], []
    for kind in ("model", "normalization"):
        if kind in theirs:
            config = chosen_in(theirs, kind, state["about"], plugins, path)
            there = {"name": theirs[kind]["name"].rpartition(":")[2], **unstructure(config)}
            found, settings = differences(mine.get(kind, {}), there, kind)
            problems += found
            changes += settings
    source = f"training.start = {start!r}"
    if problems:
        problems[-1] += f"\n  so that the run file agrees: {' '.join(changes)}"
        raise ConfigError(problems, source)
    try:
        run.trainer.model.load_state_dict(weights_to_use(state))
    except RuntimeError as error:
        sizes = mine["training"]["batch_size"], theirs["training"]["batch_size"]
        reason = f"the weights do not fit: {' '.join(str(error).split())[:300]}"
        if sizes[0] != sizes[1]:
            reason += f". A normalization may depend on training.batch_size: found {sizes[0]}, the network has {sizes[1]}"
        raise ConfigError(reason, source) from error
    weights = path / WEIGHTS if path.is_dir() else path
    about = {"place": start, "sha256": digest(weights.read_bytes()), "resolution_m": float(state["about"]["resolution_m"])}
    run.trainer.about = {**run.trainer.about, "start": about}


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], place: str) -> tuple[list[str], list[str]]:
    """What differs between two tables of a component: sentences, and the options that make `mine` like `theirs`."""
    here, there = flat(mine, place), flat(theirs, place)
    here[f"{place}.name"] = str(here.get(f"{place}.name", "none")).rpartition(":")[2]
    another = here[f"{place}.name"] != there[f"{place}.name"]
    differing = [key for key in {**there, **here} if here.get(key) != there.get(key)]
    wanted = there if another else {key: there[key] for key in differing if key in there}
    told = [f"{place}.name"] if another else differing  # the settings of one component mean nothing to another
    sentences = [f"{key}: found {shown(here.get(key))}, the network has {shown(there.get(key))}" for key in told]
    options = [f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in wanted.items()]
    return sentences, options if differing else []


def flat(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in table.items():
        rows |= flat(value, f"{place}.{key}") if isinstance(value, Mapping) else {f"{place}.{key}": value}
    return rows


def fit(run: Assembled, folder: Path) -> Result:
    trainer = run.trainer
    with stopping_on_signals(trainer):
        trainer.fit(run.loader("train"), run.loader("validation"), epochs=run.config.training.epochs)
    return Result(folder=folder, epoch=trainer.epoch, stopped=trainer.stopped, scores=trainer.scores)


@contextmanager
def stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM end training after the current step, with its state saved; a second one leaves at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        for again, handler in before.items():
            signal.signal(again, handler)
        trainer.stop(f"interrupted by {signal.Signals(number).name}", final=False)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the run folder -------------------------------------------------------------------------------------------------


def write_run_folder(run: Assembled, folder: Path, plugins: Plugins) -> None:
    """The resolved run file, the versions it ran with, and local plugin code: enough to run it again."""
    import tomli_w

    folder.mkdir(parents=True)
    used = plugins_of(run.config, plugins)
    versions = {**run.trainer.about["versions"], **{name: plugin.version for name, plugin in sorted(used.items())}}
    if start := run.trainer.about.get("start"):
        versions[f"weights of {start['place']}"] = f"sha256:{start['sha256']}"
    (folder / RUN_FILE).write_text(tomli_w.dumps(run.trainer.about["config"]), encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    for plugin in plugins.records:
        if plugin.path is not None and plugin.path.is_file():
            (folder / "plugins").mkdir(exist_ok=True)
            shutil.copyfile(plugin.path, folder / "plugins" / plugin.path.name)


def config_of(folder: Path, plugins: Plugins) -> Config:
    """The config of a run folder.

    Raises:
        ConfigError: With, besides the mistakes, the packages the run was made with.
    """
    path = folder / RUN_FILE
    try:
        return config_from(read_table(path), plugins, source=str(path))
    except ConfigError as error:
        made_with = versions_of(folder)
        note = f"the run was made with {made_with}" if made_with else "the run does not say what it was made with"
        local = sorted(file.name for file in (folder / "plugins").glob("*.py"))
        if local:
            note += f"; give its local code again: -p {folder / 'plugins' / local[0]}"
        raise ConfigError([*error.problems, note], error.source) from error


def versions_of(folder: Path) -> str:
    try:
        versions = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
        return ", ".join(f"{name} {version}" for name, version in versions.items())
    except (OSError, ValueError, AttributeError):
        return ""


# --- test -----------------------------------------------------------------------------------------------------------


def evaluate_model(
    folder: Path | str, *, split: str = "test", checkpoint: str | None = None, plugins: Plugins | None = None
) -> dict[str, float]:
    """Scores of a trained run on a split, named `split/label/value`; its own metrics, its best checkpoint by default."""
    folder, plugins = Path(folder), plugins or Plugins.discover()
    if split not in ("train", "validation", "test"):
        raise ConfigError(f"found split {split!r}, expected train, validation or test", "test")
    if is_network(folder):
        raise CheckpointError(f"{folder} is a network without data to score it on; name the run folder it was made from")
    path = checkpoint_of(folder, checkpoint)
    state = load_checkpoint(path)
    run = assemble(config_of(folder, plugins), folder, plugins, training=False)
    try:
        run.trainer.model.load_state_dict(weights_to_use(state))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from error
    return run.trainer.evaluate(run.loader(split), split)


def calibrated(
    folder: Path | str, *, checkpoint: str | None = None, plugins: Plugins | None = None
) -> tuple[Calibration, float, float]:
    """The calibration of least log loss on a run's validation split, and that loss (nats per pixel) before and after.

    Raises:
        DataError: The split cannot tell, such as one all of gap.
    """
    folder, plugins = Path(folder), plugins or Plugins.discover()
    if not (folder / RUN_FILE).is_file():
        raise CheckpointError(f"{folder} is no run folder, so there is no validation split to calibrate on")
    state = load_checkpoint(checkpoint_of(folder, checkpoint))
    run = assemble(config_of(folder, plugins), folder, plugins, training=False)
    run.trainer.model.load_state_dict(weights_to_use(state))
    run.trainer.metrics = {"calibration": LogitCounts}
    found = {name.rpartition("/")[2]: value for name, value in run.trainer.evaluate(run.loader("validation")).items()}
    return Calibration(slope=found["slope"], offset=found["offset"]), found["log_loss_before"], found["log_loss_after"]


def cost_per_pixel(trainer: Trainer, tiles: Tiles) -> float:
    """Multiply-adds of a forward pass for one pixel and all thresholds, as torch counts them: convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = trainer.evaluation_batch(tiles)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        trainer.model(batch.dsm, batch.valid, batch.thresholds)
    return float(counter.get_total_flops()) / 2 / batch.valid.numel()


def try_one_batch(config: Config, plugins: Plugins) -> dict[str, Any]:
    """Build everything and take one step in memory; facts about the run, for `config check`."""
    with tempfile.TemporaryDirectory() as scratch:
        run = assemble(config, Path(scratch), plugins)
        trainer = run.trainer
        begin(run, plugins)
        loader = run.loader("train")
        for split in ("validation", "test"):
            run.loader(split)
        trainer.epochs, trainer.steps_per_epoch = config.training.epochs, -(-len(loader) // trainer.accumulate)
        trainer.model.train()
        tiles = next(iter(loader)).to(run.device)
        loss = trainer.train_step([tiles]).item()
        multiply_adds = cost_per_pixel(trainer, tiles)
    return {
        "device": str(run.device),
        "tiles": {split: len(getattr(run.data, split)) for split in ("train", "validation", "test")},
        "resolution_m": run.data.resolution_m,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "multiply-adds per pixel": round(multiply_adds),
        "steps": trainer.total_steps,
        "loss of one batch": round(loss, 4),
    }
