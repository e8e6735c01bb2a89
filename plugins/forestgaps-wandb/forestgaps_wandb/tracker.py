"""A run in Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field, frozen
from attrs.validators import ge, gt, min_len
from torch import Tensor

from forestgaps_core import hookimpl
from forestgaps_core.files.checkpoint import network_of, save_checkpoint
from forestgaps_core.tracking import Guard, Interval, Showing, parameters_of
from forestgaps_core.tracking.run_ids import check_run_id
from forestgaps_wandb.histograms import histograms
from forestgaps_wandb.session import PATIENCE, Mode, Session

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class WandbConfig:
    """Logs a run for Weights & Biases, by default to the folder `wandb` of the run, sending nothing.

    Parameters: every setting of the run file and the version of each package. Curves: loss, learning rate and gradient norm at
    intervals, every score at the end of an epoch, a score of one height threshold such as `gap_iou@5m` as `gap_iou/5m`.
    Of the validation: pictures of its first tiles, confusion matrices, precision and recall as tables. Artifacts:
    `run.toml` and `versions.json`, and at the end the checkpoints `best.pt` and `last.pt`, and the network with its last
    scores. The axis is completed optimizer steps. Resuming goes on with the same run of the tracker.

    `wandb sync` sends a run logged offline. No error of wandb stops training: the first is a line on stderr, and a run that
    should be online but has no connection or log-in when it starts is logged offline.
    """

    mode: Mode = field(
        default="offline",
        metadata={"help": "offline: to the run folder; online: also to the server; disabled: nothing is kept."},
    )
    project: str = field(default="forestgaps", validator=min_len(1), metadata={"help": "Project the run is in."})
    entity: str | None = field(default=None, metadata={"help": "User or team the project belongs to; absent: the user's own."})
    server: str | None = field(
        default=None, metadata={"help": "Address of a server of one's own, such as http://localhost:8080; absent: the public one."}
    )
    patience: float = field(
        default=PATIENCE,
        validator=gt(0),
        metadata={"help": "Seconds to wait for the server when training starts, and for uploads when it ends."},
    )
    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one point of the loss to the next."})
    images: int = field(default=4, validator=ge(0), metadata={"help": "Tiles of the validation to show; 0: none."})
    confusion: bool = field(default=True, metadata={"help": "Show a confusion matrix for each threshold."})
    curves: bool = field(default=True, metadata={"help": "Keep precision and recall at every cut for each threshold."})
    images_every: int = field(
        default=1, validator=ge(1), metadata={"help": "Epochs from one set of images, matrices and curves to the next."}
    )
    histograms_every: int = field(
        default=0,
        validator=ge(0),
        metadata={"help": "Epochs from one set of histograms of weights and gradients to the next; 0: none."},
    )
    checkpoints: bool = field(default=True, metadata={"help": "Log the checkpoints best.pt and last.pt when training ends."})
    model: bool = field(default=True, metadata={"help": "Log the network with its last scores when training is complete."})

    def build(self, run_folder: Path, label: str) -> WandbTracker:
        return WandbTracker(run_folder=run_folder, config=self, label=label)


@define(eq=False)
class WandbTracker:
    remote: ClassVar = True  # writes to a server or its database

    run_folder: Path
    config: WandbConfig = field(factory=WandbConfig)
    label: str = "wandb"
    session: Session = field(init=False)
    guard: Guard = field(init=False)
    interval: Interval = field(factory=Interval, init=False)
    running: bool = field(default=False, init=False)
    showing: Showing | None = field(default=None, init=False)  # of the validation that goes on, if it is to be shown

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.guard = Guard(self.label)
        self.session = Session(
            folder=self.run_folder,
            project=config.project,
            mode=config.mode,
            entity=config.entity,
            server=config.server,
            patience=config.patience,
        )

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.running = True
        self.guard(lambda: self.session.open(parameters_of(trainer.about)))
        files = [self.run_folder / "run.toml", self.run_folder / "versions.json"]
        self.guard(lambda: self.session.log_files("settings", files))

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss)
        if trainer.step % self.config.every == 0:
            values = self.interval.read(trainer, "steps")
            self.guard(lambda: self.session.log(values, trainer.step))

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
        if showing is not None:
            self.guard(lambda: self.show(showing, trainer.step))

    def show(self, showing: Showing, step: int) -> None:
        self.session.log_pictures(showing.tiles.pictures(), step)
        self.session.log_pictures(showing.matrices.pictures(), step)
        self.session.log_curves(showing.lines.curves(), step)

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        self.guard(lambda: self.session.log(scores, trainer.step))
        if self.config.histograms_every and trainer.epoch % self.config.histograms_every == 0:
            self.guard(lambda: self.session.log_histograms(histograms(trainer.model), trainer.step))

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        failed = sys.exc_info()[1] is not None  # `fit` tells this event while its error is on the way out
        self.running = False
        self.guard(lambda: self.log_network(trainer, failed=failed))
        self.guard(lambda: self.session.close(trainer.scores, failed=failed))

    def log_network(self, trainer: Trainer, *, failed: bool) -> None:
        folder = self.run_folder / "checkpoints"
        if self.config.checkpoints:
            self.session.log_files("checkpoints", [folder / "best.pt", folder / "last.pt"])
        # What a checkpoint says of the stop tells one for good from a pause.
        state = trainer.state_dict()
        complete = trainer.epoch >= trainer.epochs or state["position"]["stopped"] is not None
        if self.config.model and complete and not failed and trainer.scores:
            path = self.run_folder / "wandb" / "network.pt"
            save_checkpoint(path, network_of(state))
            self.session.log_files("model", [path], trainer.scores)

    def state_dict(self) -> dict[str, Any]:
        rows = [[step, row] for step, row in sorted(self.session.unwritten_rows().items())]
        return {"run": self.session.run_id, "rows": rows, **self.interval.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.session.run_id, self.session.from_checkpoint = check_run_id(state["run"]), True
        rows = state.get("rows", [])  # absent from checkpoints of 0.1
        self.session.rows = {int(step): {str(name): float(value) for name, value in row.items()} for step, row in rows}
        self.interval.load_state_dict(state)
