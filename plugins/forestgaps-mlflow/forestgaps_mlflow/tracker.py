"""A run in MLflow."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field, frozen
from attrs.validators import ge, min_len
from torch import Tensor

from forestgaps_core import hookimpl
from forestgaps_core.files.checkpoint import network_of, save_checkpoint
from forestgaps_core.tracking import Guard, Interval, Showing, parameters_of
from forestgaps_core.tracking.run_ids import check_run_id
from forestgaps_mlflow.store import DATABASE, Store, plain_name

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class MlflowConfig:
    """Logs a run to MLflow, by default to a database in the folder `mlflow` of the run.

    Parameters: every setting of the run file and the version of each package. Curves: loss, learning rate and gradient norm at
    intervals, every score at the end of an epoch, a score of one height threshold such as `gap_iou@5m` as `gap_iou/5m`.
    Of the validation: pictures of its first tiles, confusion matrices, precision and recall as tables. Files: `run.toml`,
    `versions.json`, and at the end the checkpoints `best.pt` and `last.pt`, and the network with its last scores. The axis
    is completed optimizer steps. Resuming goes on with the same run of the tracker.

    No error of MLflow stops training. The first is a line on stderr; points are kept and sent when the store answers again.
    """

    uri: str | None = field(
        default=None,
        metadata={
            "help": "Where to log: a server such as http://localhost:5000, or a database such as sqlite:////data/mlflow.db; "
            "absent: mlflow/mlflow.db in the run folder."
        },
    )
    experiment: str = field(default="forestgaps", validator=min_len(1), metadata={"help": "Experiment of MLflow the run is in."})
    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one point of the loss to the next."})
    images: int = field(default=4, validator=ge(0), metadata={"help": "Tiles of the validation to show; 0: none."})
    confusion: bool = field(default=True, metadata={"help": "Show a confusion matrix for each threshold."})
    curves: bool = field(default=True, metadata={"help": "Keep precision and recall at every cut for each threshold."})
    images_every: int = field(
        default=1, validator=ge(1), metadata={"help": "Epochs from one set of images, matrices and curves to the next."}
    )
    checkpoints: bool = field(default=True, metadata={"help": "Log the checkpoints best.pt and last.pt when training ends."})
    model: bool = field(default=True, metadata={"help": "Log the network with its last scores when training is complete."})

    def build(self, run_folder: Path, label: str) -> MlflowTracker:
        return MlflowTracker(run_folder=run_folder, config=self, label=label)


@define(eq=False)
class MlflowTracker:
    remote: ClassVar = True  # writes to a server or its database

    run_folder: Path
    config: MlflowConfig = field(factory=MlflowConfig)
    label: str = "mlflow"
    store: Store = field(init=False)
    guard: Guard = field(init=False)
    interval: Interval = field(factory=Interval, init=False)
    running: bool = field(default=False, init=False)
    showing: Showing | None = field(default=None, init=False)  # of the validation that goes on, if it is to be shown

    def __attrs_post_init__(self) -> None:
        folder = self.run_folder.resolve()
        self.guard = Guard(self.label)
        self.store = Store(
            uri=self.config.uri or DATABASE + (folder / "mlflow" / "mlflow.db").as_posix(),
            experiment=self.config.experiment,
            name=folder.name,
            id_file=folder / "mlflow" / "run_id.txt",
            files=[folder / "run.toml", folder / "versions.json"],
        )

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.running = True
        self.store.parameters = parameters_of(trainer.about)
        self.guard(self.store.open)

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss)
        if trainer.step % self.config.every == 0:
            self.store.add(self.interval.read(trainer, "steps"), trainer.step)
            if not self.guard.failing:  # a server that is gone is asked again at the end of the epoch, not before
                self.guard(self.store.send)

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        due = self.running and split == "validation" and (trainer.epoch + 1) % self.config.images_every == 0
        config = self.config
        self.showing = Showing(images=config.images, confusion=config.confusion, curves=config.curves) if due else None

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        if self.showing is not None:
            self.showing.add(batch, logits)

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        showing, self.showing = self.showing, None
        if showing is not None and not self.guard.failing:
            self.guard(lambda: self.show(showing, trainer.step))

    def show(self, showing: Showing, step: int) -> None:
        self.store.log_pictures(showing.tiles.pictures(), step)
        self.store.log_pictures(showing.matrices.pictures(), step)
        self.store.log_curves(showing.lines.curves(), step)

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        self.store.add(scores, trainer.step)
        self.guard(self.store.send)

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        failed = sys.exc_info()[1] is not None  # `fit` tells this event while its error is on the way out
        self.running = False
        self.guard(lambda: self.finish(trainer, failed=failed))

    def finish(self, trainer: Trainer, *, failed: bool) -> None:
        self.store.send()
        if self.config.checkpoints:
            checkpoints = self.run_folder / "checkpoints"
            self.store.log_files([checkpoints / "best.pt", checkpoints / "last.pt"], "checkpoints")
        # What a checkpoint says of the stop tells one for good from a pause.
        state = trainer.state_dict()
        complete = trainer.epoch >= trainer.epochs or state["position"]["stopped"] is not None
        if self.config.model and complete and not failed and trainer.scores:
            with tempfile.TemporaryDirectory() as folder:
                save_checkpoint(Path(folder) / "network.pt", network_of(state))
                self.store.log_model(Path(folder), trainer.scores, trainer.step)
        self.store.close("FAILED" if failed else "FINISHED" if complete else "KILLED")

    def state_dict(self) -> dict[str, Any]:
        waiting = [list(point) for point in self.store.waiting]
        return {"run": self.store.run_id, "waiting": waiting, **self.interval.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.store.run_id = None if state["run"] is None else check_run_id(state["run"])
        self.store.waiting = [
            (plain_name(name), float(value), int(step), int(milliseconds)) for name, value, step, milliseconds in state["waiting"]
        ]
        self.interval.load_state_dict(state)
