"""Train, test and resume a run."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from attrs import frozen

from forestgaps_core.config.run_file import Config
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.files.atomic import remove_temporary_files
from forestgaps_core.files.checkpoint import ENDING, choose_weights, load_newest_checkpoint, load_run_checkpoint
from forestgaps_core.files.drafts import discard_draft
from forestgaps_core.files.lock import hold_folder
from forestgaps_core.inference.calibration import Calibration, LogitCounts
from forestgaps_core.inference.model_lookup import require_run
from forestgaps_core.plugins.provenance import read_versions, warn_of_other_alterations, warn_of_other_versions
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.added_callbacks import read_added, record_callbacks
from forestgaps_core.runs.builder import BuiltRun, build_run, load_start_weights
from forestgaps_core.runs.run_folder import read_recorded_versions, record_versions, refuse_folder, write_run_folder
from forestgaps_core.runs.run_folder import read_run_config as read_run_config
from forestgaps_core.runtime.distributed import find_processes, join
from forestgaps_core.training.nonfinite_report import FOLDER as FAULTS
from forestgaps_core.training.trainer import Trainer

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
    plugins, folder, here = plugins or Plugins.discover(), Path(folder), find_processes()
    with join(here, config.environment.torch_device()):
        folder = here.of_first(folder)
        if here.first:
            refuse_folder(folder)
        run = build_run(config, folder, plugins)
        load_start_weights(run, plugins)
        if here.first:
            write_run_folder(run, folder, plugins)
        with hold_folder(folder, "train") if here.first else nullcontext():
            return fit_run(run, folder)


def resume_training(folder: Path | str, *, changes: Sequence[str] = (), plugins: Plugins | None = None) -> Result:
    """Resume a run from its newest intact checkpoint, or from the start if it has none yet.

    Args:
        changes: Add callbacks, such as `callbacks.norms.name=monitor`. Their state begins here; the run records them.

    Raises:
        ConfigError: The changes do more than add callbacks.
        CheckpointError: Not a run folder, or its checkpoint belongs to something else.
        BusyError: Another process trains in it.
    """
    folder = Path(folder)
    plugins, here = plugins or Plugins.discover(), find_processes()
    require_run(folder, "train --resume", plugins)
    config = read_run_config(folder, plugins)
    with join(here, config.environment.torch_device()), hold_folder(folder, "train") if here.first else nullcontext():
        run = restore_run(folder, plugins, changes=changes)
        here.gathered(None)  # every process has read the run file before it is written
        if here.first:
            record_versions(run, folder, plugins)
            if new := [label for label in run.config.callbacks if label not in config.callbacks]:
                record_callbacks(run, folder, new)
        return fit_run(run, folder)


def restore_run(
    folder: Path, plugins: Plugins, scratch: Path | None = None, *, changes: Sequence[str] = (), rehearsal: bool = False
) -> BuiltRun:
    """Build the run of a folder, in the state of its newest intact checkpoint, or of its start if it has none yet.

    Args:
        scratch: Where callbacks may write, instead of the folder.
        changes: Add callbacks, as for `resume_training`.
        rehearsal: Whether this is to find out whether it works.
    """
    if not any((folder / "checkpoints").glob(f"*{ENDING}")):
        run = build_run(read_run_config(folder, plugins, changes=changes), scratch or folder, plugins, rehearsal=rehearsal)
        warn_of_other_versions(folder, read_recorded_versions(folder), plugins, "resuming")
        load_start_weights(run, plugins)
        return run
    path, state, damaged = load_newest_checkpoint(folder)
    for sentence in damaged:
        log.warning("%s; continuing from %s instead", sentence, path)
    about = state["about"]
    config = read_run_config(folder, plugins, about, changes=changes)
    run = build_run(config, scratch or folder, plugins, rehearsal=rehearsal)
    added = {*read_added(folder), *(label for label in config.callbacks if label not in state["callbacks"] and changes)}
    versions = about.get("versions")
    recorded = {**(versions if isinstance(versions, Mapping) else {}), **read_versions(about)}
    warn_of_other_versions(folder, recorded, plugins, "resuming")
    warn_of_other_alterations(folder, about, run.trainer.about, "resuming")
    run.trainer.load_state_dict(state, added=added)
    if started := about.get("start"):  # its weights are no longer needed, where they came from is still recorded
        run.trainer.about = {**run.trainer.about, "start": started}
    return run


def fit_run(run: BuiltRun, folder: Path) -> Result:
    trainer = run.trainer
    if trainer.processes.first:
        discard_draft(folder)
        remove_temporary_files(folder, folder / "checkpoints", folder / FAULTS)
    with closing(run.loader("train")) as train, closing(run.loader("validation")) as validation, stop_on_signals(trainer):
        trainer.fit(train, validation, epochs=run.config.training.epochs)
    return Result(folder=folder, epoch=trainer.epoch, stopped=trainer.stopped, scores=trainer.scores)


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
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


# --- test -----------------------------------------------------------------------------------------------------------


def evaluate_run(
    folder: Path | str, *, split: str = "test", checkpoint: str | None = None, plugins: Plugins | None = None
) -> dict[str, float]:
    """Scores of a trained run on a split, named `split/label/value`; its own metrics, its best checkpoint by default."""
    folder, plugins = Path(folder), plugins or Plugins.discover()
    if split not in ("train", "validation", "test"):
        raise ConfigError(f"found split {split!r}, expected train, validation or test", "test")
    require_run(folder, "test", plugins)
    path, state = load_run_checkpoint(folder, checkpoint)
    run = build_run(read_run_config(folder, plugins, state["about"]), folder, plugins, training=False)
    warn_of_other_versions(path, read_versions(state["about"]), plugins, "evaluating")
    try:
        run.trainer.model.load_state_dict(choose_weights(state))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from error
    with closing(run.loader(split)) as loader:
        return run.trainer.evaluate(loader, split)


def calibrate_run(
    folder: Path | str, *, checkpoint: str | None = None, plugins: Plugins | None = None
) -> tuple[Calibration, float, float]:
    """The calibration of least log loss on a run's validation split, and that loss (nats per pixel) before and after.

    Raises:
        DataError: The split cannot tell, such as one all of gap.
    """
    folder, plugins = Path(folder), plugins or Plugins.discover()
    require_run(folder, "publish --calibrate", plugins)
    _, state = load_run_checkpoint(folder, checkpoint)
    run = build_run(read_run_config(folder, plugins, state["about"]), folder, plugins, training=False)
    run.trainer.model.load_state_dict(choose_weights(state))
    run.trainer.metrics = {"calibration": LogitCounts}
    with closing(run.loader("validation")) as loader:
        found = {name.rpartition("/")[2]: value for name, value in run.trainer.evaluate(loader).items()}
    return Calibration(slope=found["slope"], offset=found["offset"]), found["log_loss_before"], found["log_loss_after"]
