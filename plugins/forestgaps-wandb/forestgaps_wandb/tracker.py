"""A run in Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge, gt, min_len

from forestgaps_core import hookimpl
from forestgaps_tracking.hyperparameters import collect_hyperparameters
from forestgaps_tracking.run_ids import check_run_id
from forestgaps_tracking.tracker import ServiceSettings, ServiceTracker, list_settings_files
from forestgaps_wandb.histograms import compute_histograms
from forestgaps_wandb.store import PATIENCE, Mode, WandbStore

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class WandbConfig(ServiceSettings):
    """Logs a run for Weights & Biases, by default to the folder `wandb` of the run, sending nothing.

    Parameters: every setting of the run file and the version of each package. Curves: loss, learning rate and gradient norm at
    intervals, every score at the end of an epoch, a score of one height threshold such as `gap_iou@5m` as `gap_iou/5m`.
    Of the validation: pictures of its first tiles, confusion matrices, precision and recall as tables. Artifacts:
    `run.toml` and `versions.json`, and at the end the checkpoints `best.safetensors` and `last.safetensors`, and the network with
    its last scores. The axis is completed optimizer steps. A resumed run continues the same run of wandb.

    `wandb sync` sends a run logged offline. An error of wandb does not stop training: the first is printed on stderr, and a run
    that should be online but has no connection or log-in when it starts is logged offline.
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
    histograms_every: int = field(
        default=0,
        validator=ge(0),
        metadata={"help": "Epochs from one set of histograms of weights and gradients to the next; 0: none."},
    )

    def build(self, run_folder: Path, label: str) -> WandbTracker:
        return WandbTracker(run_folder=run_folder, config=self, label=label)


@define(eq=False)
class WandbTracker(ServiceTracker):
    config: WandbConfig = field(factory=WandbConfig)
    label: str = "wandb"
    store: WandbStore = field(init=False)

    def make_store(self) -> WandbStore:
        config = self.config
        return WandbStore(
            folder=self.run_folder,
            project=config.project,
            mode=config.mode,
            entity=config.entity,
            server=config.server,
            patience=config.patience,
        )

    def open(self, trainer: Trainer) -> None:
        self.guard(lambda: self.store.open(collect_hyperparameters(trainer.about)))
        self.guard(lambda: self.store.log_files("settings", list_settings_files(self.run_folder)))

    def log_scalars(self, values: Mapping[str, float], step: int, *, end_of_epoch: bool) -> None:
        self.guard(lambda: self.store.log(values, step))

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        super().epoch_end(trainer, scores)
        if self.config.histograms_every and trainer.epoch % self.config.histograms_every == 0:
            self.guard(lambda: self.store.log_histograms(compute_histograms(trainer.model), trainer.step))

    def state_dict(self) -> dict[str, Any]:
        rows = [[step, row] for step, row in sorted(self.store.unwritten_rows().items())]
        return {"run": self.store.run_id, "rows": rows, **self.interval.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.store.run_id, self.store.from_checkpoint = check_run_id(state["run"]), True
        rows = state.get("rows", [])  # absent from checkpoints of 0.1
        self.store.rows = {int(step): {str(name): float(value) for name, value in row.items()} for step, row in rows}
        self.interval.load_state_dict(state)
