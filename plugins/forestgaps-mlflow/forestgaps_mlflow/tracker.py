"""A run in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import min_len

from forestgaps_mlflow.store import DATABASE, MlflowStore, sanitize_name
from forestgaps_tracking.hyperparameters import collect_hyperparameters
from forestgaps_tracking.run_ids import check_run_id
from forestgaps_tracking.tracker import ServiceSettings, ServiceTracker, list_settings_files

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class MlflowConfig(ServiceSettings):
    """Logs a run to MLflow, by default to a database in the folder `mlflow` of the run.

    Parameters: every setting of the run file and the version of each package. Curves: loss, learning rate and gradient norm at
    intervals, every score at the end of an epoch, a score of one height threshold such as `gap_iou@5m` as `gap_iou/5m`.
    Of the validation: pictures of its first tiles, confusion matrices, precision and recall as tables. Files: `run.toml`,
    `versions.json`, and at the end the checkpoints `best.safetensors` and `last.safetensors`, and the network with its last
    scores. The axis is completed optimizer steps. A resumed run continues the same run of MLflow.

    An error of MLflow does not stop training. The first is printed on stderr. Points are kept and sent when the store answers
    again.
    """

    uri: str | None = field(
        default=None,
        metadata={
            "help": "Where to log: a server such as http://localhost:5000, or a database such as sqlite:////data/mlflow.db; "
            "absent: mlflow/mlflow.db in the run folder."
        },
    )
    experiment: str = field(default="forestgaps", validator=min_len(1), metadata={"help": "Experiment of MLflow the run is in."})

    def build(self, run_folder: Path, label: str) -> MlflowTracker:
        return MlflowTracker(run_folder=run_folder, config=self, label=label)


@define(eq=False)
class MlflowTracker(ServiceTracker):
    config: MlflowConfig = field(factory=MlflowConfig)
    label: str = "mlflow"
    store: MlflowStore = field(init=False)

    def make_store(self) -> MlflowStore:
        folder = self.run_folder.resolve()
        return MlflowStore(
            uri=self.config.uri or DATABASE + (folder / "mlflow" / "mlflow.db").as_posix(),
            experiment=self.config.experiment,
            name=folder.name,
            id_file=folder / "mlflow" / "run_id.txt",
            files=list_settings_files(folder),
        )

    def attempt(self, call: Callable[[], object]) -> None:
        """Leave the call out while the server does not answer: it is tried again at the end of the epoch, by `log_scalars`."""
        if not self.guard.failing:
            self.guard(call)

    def open(self, trainer: Trainer) -> None:
        self.store.parameters = collect_hyperparameters(trainer.about)
        self.guard(self.store.open)

    def log_scalars(self, values: Mapping[str, float], step: int, *, end_of_epoch: bool) -> None:
        self.store.add(values, step)
        call = self.guard if end_of_epoch else self.attempt
        call(self.store.send)

    def close(self, trainer: Trainer, *, failed: bool) -> None:
        self.guard(self.store.send)
        super().close(trainer, failed=failed)

    def state_dict(self) -> dict[str, Any]:
        waiting = [list(point) for point in self.store.waiting]
        return {"run": self.store.run_id, "waiting": waiting, **self.interval.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.store.run_id = None if state["run"] is None else check_run_id(state["run"])
        self.store.waiting = [
            (sanitize_name(name), float(value), int(step), int(milliseconds))
            for name, value, step, milliseconds in state["waiting"]
        ]
        self.interval.load_state_dict(state)
