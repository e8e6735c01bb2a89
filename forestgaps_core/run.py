"""A run from its config: build everything, train, test, resume."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from forestgaps_core.assembly import Assembled, assemble, begin
from forestgaps_core.bounded_reading import read_json
from forestgaps_core.calibration import Calibration, LogitCounts
from forestgaps_core.checkpoint import load_chosen, newest_checkpoint, weights_to_use
from forestgaps_core.components import Tiles
from forestgaps_core.config import Config, config_from, plugins_of, read_table
from forestgaps_core.drafts import new_folder
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.faults import FOLDER as FAULTS
from forestgaps_core.locking import held
from forestgaps_core.places import RUN_FILE, require_run
from forestgaps_core.plugins import Plugins
from forestgaps_core.processes import joined, processes_here
from forestgaps_core.trainer import Trainer
from forestgaps_core.writing import sweep

log = logging.getLogger("forestgaps")


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


# --- training -------------------------------------------------------------------------------------------------------


def train_model(config: Config, folder: Path | str, *, plugins: Plugins | None = None) -> Result:
    """Train from the start: from random weights, or from those that `training.start` names.

    Args:
        folder: The run folder to make; it must not exist.

    Raises:
        ConfigError: The folder exists, or the weights to start from are of another network.
    """
    plugins, folder, here = plugins or Plugins.discover(), Path(folder), processes_here()
    with joined(here, config.environment.torch_device()):
        folder = here.of_first(folder)
        if here.first and folder.exists():
            raise ConfigError(f"the run folder {folder} exists; give another, or go on with it by --resume {folder}", "train")
        run = assemble(config, folder, plugins)
        begin(run, plugins)
        if here.first:
            write_run_folder(run, folder, plugins)
        with held(folder, "train") if here.first else nullcontext():
            return fit(run, folder)


def resume_training(folder: Path | str, *, plugins: Plugins | None = None) -> Result:
    """Go on with a run from its newest intact checkpoint, or from the start if it has none yet.

    Raises:
        CheckpointError: Not a run folder, or its checkpoint belongs to something else.
        BusyError: Another process trains in it.
    """
    folder = Path(folder)
    plugins = plugins or Plugins.discover()
    require_run(folder, "train --resume", plugins)
    config, here = config_of(folder, plugins), processes_here()
    with joined(here, config.environment.torch_device()), held(folder, "train") if here.first else nullcontext():
        run = assemble(config, folder, plugins)
        if any((folder / "checkpoints").glob("*.pt")):
            path, state, damaged = newest_checkpoint(folder)
            for sentence in damaged:
                log.warning("%s; going on from %s instead", sentence, path)
            run.trainer.load_state_dict(state)
            if started := state["about"].get("start"):  # its weights are no longer needed, where they came from is still told
                run.trainer.about = {**run.trainer.about, "start": started}
        else:
            begin(run, plugins)
        return fit(run, folder)


def fit(run: Assembled, folder: Path) -> Result:
    trainer = run.trainer
    if trainer.processes.first:
        sweep(folder, folder / "checkpoints", folder / FAULTS)
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
    """The resolved run file, the versions it ran with, and local plugin code: enough to run it again. All of it, or no folder."""
    import tomli_w

    used = plugins_of(run.config, plugins)
    versions = {**run.trainer.about["versions"], **{name: plugin.version for name, plugin in sorted(used.items())}}
    if start := run.trainer.about.get("start"):
        versions[f"weights of {start['place']}"] = f"sha256:{start['sha256']}"
    with new_folder(folder, purpose="train") as draft:
        (draft / RUN_FILE).write_text(tomli_w.dumps(run.trainer.about["config"]), encoding="utf-8")
        (draft / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
        for plugin in plugins.records:
            if plugin.path is not None and plugin.path.is_file():
                (draft / "plugins").mkdir(exist_ok=True)
                shutil.copyfile(plugin.path, draft / "plugins" / plugin.path.name)


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
            note += f"; if you trust it, give its local code again: -p {folder / 'plugins' / local[0]}"
        raise ConfigError([*error.problems, note], error.source) from error


def versions_of(folder: Path) -> str:
    try:
        versions = read_json(folder / "versions.json")
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
    require_run(folder, "test", plugins)
    path, state = load_chosen(folder, checkpoint)
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
    require_run(folder, "share --calibrate", plugins)
    _, state = load_chosen(folder, checkpoint)
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
