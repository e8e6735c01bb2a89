"""Callbacks that log a run: base classes for trackers, and for trackers of a service that may fail."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor

from forestgaps_core import hookimpl
from forestgaps_core.files.checkpoint import drop_training_state
from forestgaps_tracking.error_guard import ErrorGuard
from forestgaps_tracking.interval import Interval
from forestgaps_tracking.pictures import draw_tiles
from forestgaps_tracking.precision_recall import DECISION_THRESHOLDS
from forestgaps_tracking.validation_plots import ValidationPlots, is_validation_due

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class TrackerSettings:
    """The settings that all trackers have."""

    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one point of the loss to the next."})
    images: int = field(default=4, validator=ge(0), metadata={"help": "Tiles of the validation to show; 0: none."})
    confusion: bool = field(default=True, metadata={"help": "Log a confusion matrix for each height threshold."})
    curves: bool = field(default=True, metadata={"help": "Log precision and recall at every decision threshold."})
    images_every: int = field(
        default=1, validator=ge(1), metadata={"help": "Epochs from one set of images, matrices and curves to the next."}
    )


@frozen(kw_only=True)
class ServiceSettings(TrackerSettings):
    """The settings of trackers that also keep files."""

    checkpoints: bool = field(
        default=True, metadata={"help": "Log the checkpoints best.safetensors and last.safetensors when training ends."}
    )
    model: bool = field(default=True, metadata={"help": "Log the network with its last scores when training is complete."})


@define(eq=False)
class Tracker(ABC):
    """Collects scalars and plots from the training events and passes them on to the methods of a subclass.

    It synchronizes with the device once per interval and once per validation.

    Attributes:
        running: Whether training has started and not ended; an evaluation outside of training is not logged.
        plots: Of the current validation, if it is to be logged.
    """

    levels: ClassVar[int] = DECISION_THRESHOLDS  # of precision-recall curves

    config: TrackerSettings
    interval: Interval = field(factory=Interval, init=False)
    running: bool = field(default=False, init=False)
    plots: ValidationPlots | None = field(default=None, init=False)

    @abstractmethod
    def open(self, trainer: Trainer) -> None:
        """Start the log of a run, or continue it after a resume."""

    @abstractmethod
    def log_scalars(self, values: Mapping[str, float], step: int, *, end_of_epoch: bool) -> None:
        """Log points of curves, by name. The step counts completed optimizer steps."""

    @abstractmethod
    def log_plots(self, plots: ValidationPlots, step: int) -> None:
        """Log the plots of a validation."""

    @abstractmethod
    def close(self, trainer: Trainer, *, failed: bool) -> None:
        """End the log. `failed`: training ends by an error."""

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.open(trainer)
        self.running = True

    # Logs hear these events last, when all other callbacks have logged their values.
    @hookimpl(trylast=True)
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss, trainer.logged)
        if self.running and trainer.step % self.config.every == 0:
            self.log_scalars(self.interval.read(trainer, "steps"), trainer.step, end_of_epoch=False)

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        config, due = self.config, self.running and is_validation_due(trainer, split, self.config.images_every)
        wanted = ValidationPlots(config.images, config.confusion, config.curves, self.levels)
        self.plots = wanted if due else None

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        if self.plots is not None:
            self.plots.add(batch, logits)

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        plots, self.plots = self.plots, None
        if plots is not None:
            self.log_plots(plots, trainer.step)

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        if self.running:
            self.log_scalars(scores, trainer.step, end_of_epoch=True)

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        failed = sys.exc_info()[1] is not None  # `fit` sends this event before its error leaves it
        self.running = False
        self.close(trainer, failed=failed)


class Store(Protocol):
    """The run of a service. Every method may raise."""

    def log_pictures(self, pictures: Iterable[tuple[str, Tensor]], step: int) -> None: ...

    def log_curves(self, curves: Iterable[tuple[str, list[list[float]]]], step: int) -> None: ...

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Log those of the files that exist."""

    def log_network(self, network: Mapping[str, Any], scores: Mapping[str, float], step: int) -> None:
        """Log a network, as returned by `drop_training_state`, as a checkpoint."""

    def close(self, scores: Mapping[str, float], *, failed: bool, complete: bool) -> None:
        """End the run. `complete`: it is not paused, and cannot be resumed."""


@define(eq=False)
class ServiceTracker(Tracker):
    """A tracker whose errors do not stop training."""

    remote: ClassVar[bool] = True  # only the first process logs, see `forestgaps_core.hookspecs`

    config: ServiceSettings
    run_folder: Path
    label: str
    store: Store = field(init=False)
    guard: ErrorGuard = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store, self.guard = self.make_store(), ErrorGuard(self.label)

    @abstractmethod
    def make_store(self) -> Store:
        """Return the store, without connecting to it."""

    def attempt(self, call: Callable[[], object]) -> None:
        """Call a method of the store through the guard. A subclass may leave calls out while its service does not answer."""
        self.guard(call)

    def log_plots(self, plots: ValidationPlots, step: int) -> None:
        self.attempt(lambda: self.send_plots(plots, step))

    def send_plots(self, plots: ValidationPlots, step: int) -> None:
        self.store.log_pictures(draw_tiles(plots.tiles), step)
        self.store.log_pictures(plots.matrices.draw(), step)
        self.store.log_curves(plots.precision_recall.iterate_curves(), step)

    def close(self, trainer: Trainer, *, failed: bool) -> None:
        self.attempt(lambda: self.send_files(trainer, failed=failed))
        self.attempt(lambda: self.store.close(trainer.scores, failed=failed, complete=is_complete(trainer)))

    def send_files(self, trainer: Trainer, *, failed: bool) -> None:
        """Log the checkpoints, and the network if training is complete."""
        if self.config.checkpoints:
            folder = self.run_folder / "checkpoints"
            self.store.log_checkpoints([folder / "best.safetensors", folder / "last.safetensors"])
        if self.config.model and not failed and trainer.scores and is_complete(trainer):
            self.store.log_network(drop_training_state(trainer.state_dict()), trainer.scores, trainer.step)


def list_settings_files(run_folder: Path) -> list[Path]:
    """Return the files of a run folder that say how the run was made."""
    return [run_folder / "run.toml", run_folder / "versions.json"]


def is_complete(trainer: Trainer) -> bool:
    """Return whether training reached its last epoch or was stopped for good; a paused run is not complete."""
    # Only the state for checkpoints says whether a stop is a pause.
    return trainer.epoch >= trainer.epochs or trainer.state_dict()["position"]["stopped"] is not None
