"""One run in an MLflow store, on disk or on a server."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from torch import Tensor

from forestgaps_core.files.checkpoint import save_checkpoint
from forestgaps_tracking.precision_recall import COLUMNS
from forestgaps_tracking.run_ids import read_run_id, write_run_id

# By default MLflow retries a server for minutes and reports its use to its makers. Values that the user has set are kept.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
POINTS_AT_ONCE, PARAMETERS_AT_ONCE, VALUE_LENGTH = 1000, 100, 6000  # limits of MLflow's REST interface
DATABASE = "sqlite:///"
PICTURE = re.compile(r"images/(?P<name>.+?)\+step\+(?P<step>\d+)\+timestamp\+.*\.png")  # as `log_image` calls its files

Point = tuple[str, float, int, int]  # name, value, step, milliseconds since 1970


@define(eq=False)
class MlflowStore:
    """Every method may raise the errors of MLflow. What could not be sent can be sent later.

    Attributes:
        run_id: Of the run in the store, once there is one.
        id_file: Keeps the run id before the first checkpoint.
        waiting: Points that are not sent yet.
        logged: Last step of each curve that is in the store already, of a resumed run.
        pictured: Names, as in MLflow's files, and steps of the pictures that are in the store already.
    """

    uri: str
    experiment: str
    name: str
    parameters: Mapping[str, bool | int | float | str] = field(factory=dict)
    files: Sequence[Path] = ()  # logged when the run is opened
    run_id: str | None = None
    id_file: Path | None = None
    waiting: list[Point] = field(factory=list)
    logged: dict[str, int] = field(factory=dict, init=False)
    pictured: set[tuple[str, int]] = field(factory=set, init=False)
    client: Any = field(default=None, init=False)

    def open(self) -> None:
        """Connect, and start or continue the run."""
        if self.client is not None:
            return
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        if self.uri.startswith(DATABASE):
            Path(self.uri.removeprefix(DATABASE)).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=self.uri)
        if self.run_id is None and self.id_file is not None:
            self.run_id = read_run_id(self.id_file)
        known = self.known_run(client)
        if known is None:
            self.run_id = client.create_run(self.experiment_id(client), run_name=self.name).info.run_id
            if self.id_file is not None:
                write_run_id(self.id_file, self.run_id)
        else:
            client.update_run(known.info.run_id, status="RUNNING")
            self.logged = {
                name: max(point.step for point in client.get_metric_history(known.info.run_id, name)) for name in known.data.metrics
            }
            files = [PICTURE.fullmatch(file.path) for file in client.list_artifacts(known.info.run_id, "images")]
            self.pictured = {(file["name"], int(file["step"])) for file in files if file}
        if known is None or not known.data.params:  # once logged they cannot change
            self.log_parameters(client)
        self.client = client
        self.log_files(self.files)

    def known_run(self, client: Any) -> Any:
        """Return the run to continue; None if it is missing or was deleted."""
        from mlflow.exceptions import MlflowException

        if self.run_id is None:
            return None
        try:
            return client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        # A server knows where files go; a database on disk would put them under the working directory.
        beside = self.uri.startswith(DATABASE)
        folder = Path(self.uri.removeprefix(DATABASE)).resolve().parent / "artifacts"
        return str(client.create_experiment(self.experiment, artifact_location=folder.as_uri() if beside else None))

    def log_parameters(self, client: Any) -> None:
        from mlflow.entities import Param

        all_of_them = [Param(sanitize_name(name), str(value)[:VALUE_LENGTH]) for name, value in self.parameters.items()]
        for some in split_into_chunks(all_of_them, PARAMETERS_AT_ONCE):
            client.log_batch(self.run_id, params=some, synchronous=True)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Keep points until they are sent. NaN is a value: the score is not defined."""
        now = time.time_ns() // 1_000_000
        self.waiting += [(sanitize_name(name), float(value), step, now) for name, value in values.items()]

    def send(self) -> None:
        """Send the waiting points. Those that the store has from before a resume are left out."""
        self.open()
        due = [point for point in self.waiting if point[2] > self.logged.get(point[0], -1)]
        self.log_points(due)
        self.waiting.clear()

    def log_points(self, points: Sequence[Point], model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        for some in split_into_chunks(points, POINTS_AT_ONCE):
            metrics = [Metric(name, value, milliseconds, step, model_id=model_id) for name, value, step, milliseconds in some]
            self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def log_pictures(self, pictures: Iterable[tuple[str, Tensor]], step: int) -> None:
        """Log pictures (3, H, W) uint8. MLflow shows those of one name along the steps."""
        self.open()
        for name, picture in pictures:
            if (name.replace("/", "~"), step) in self.pictured:
                continue
            self.client.log_image(self.run_id, picture.movedim(0, -1).numpy(), key=name, step=step, synchronous=True)

    def log_curves(self, curves: Iterable[tuple[str, list[list[float]]]], step: int) -> None:
        """Log each curve as a table `NAME/step-00000120.csv`."""
        self.open()
        for name, rows in curves:
            lines = [",".join(COLUMNS), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
            self.client.log_text(self.run_id, "\n".join(lines) + "\n", f"{name}/step-{step:08d}.csv")

    def log_files(self, files: Iterable[Path], folder: str | None = None) -> None:
        """Log those of the files that exist."""
        self.open()
        for file in files:
            if file.is_file():
                self.client.log_artifact(self.run_id, str(file), folder)

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        self.log_files(files, "checkpoints")

    def log_network(self, network: Mapping[str, Any], scores: Mapping[str, float], step: int) -> None:
        """Log `network.safetensors` as a model of the run, with its scores."""
        self.open()
        experiment = self.client.get_run(self.run_id).info.experiment_id
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder) / "network.safetensors", network)
            model = self.client.create_logged_model(experiment, name="network", source_run_id=self.run_id, model_type="forestgaps")
            self.client.log_model_artifacts(model.model_id, folder)
        self.log_points([point for name in scores for point in self.points_at(name, step)], model_id=model.model_id)
        self.client.finalize_logged_model(model.model_id, "READY")

    def points_at(self, name: str, step: int) -> list[Point]:
        """Return a score at a step as the store has it, so that sending it again with a model does not add a point."""
        history = self.client.get_metric_history(self.run_id, sanitize_name(name))
        return [(point.key, point.value, point.step, point.timestamp) for point in history if point.step == step]

    def close(self, scores: Mapping[str, float], *, failed: bool, complete: bool) -> None:
        """End the run as failed, finished, or killed if it is paused. Its scores are points already."""
        self.open()
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED" if complete else "KILLED")
        self.client = None


def sanitize_name(name: str) -> str:
    """Return a name that MLflow allows: `gap_iou@5m` becomes `gap_iou/5m`, other characters `_`."""
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "/"))


def split_into_chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
