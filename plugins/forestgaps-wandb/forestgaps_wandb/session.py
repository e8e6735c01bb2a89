"""One run of Weights & Biases, on disk or on its server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from attrs import define, field
from torch import Tensor

from forestgaps_core.tracking import COLUMNS

Mode = Literal["offline", "online", "disabled"]
PATIENCE = 30.0  # seconds to wait for the server at the start, and for uploads at the end


class NoLogInError(Exception):
    """There is no log-in, and a run must not wait for somebody to type one."""


@define(eq=False)
class Session:
    """Everything here may raise whatever wandb raises.

    Attributes:
        folder: The run folder; wandb writes to `wandb` below it.
        run_id: Of the run; the same after a resume.
    """

    folder: Path
    project: str
    mode: Mode = "offline"
    entity: str | None = None
    server: str | None = None
    patience: float = PATIENCE
    run_id: str = field(factory=lambda: uuid.uuid4().hex[:12])
    run: Any = field(default=None, init=False)

    def open(self, parameters: Mapping[str, object]) -> None:
        """Begin the run or go on with it.

        Without a connection or a log-in it is kept on disk, and the error is raised after that.
        """
        self.folder.mkdir(parents=True, exist_ok=True)  # otherwise wandb would write elsewhere
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers; what the user has set stands
        if self.mode != "online":
            self.run = self.begin(self.mode, parameters)
            return
        try:
            self.require_log_in()
            self.run = self.begin("online", parameters)
        except Exception:
            import wandb

            wandb.teardown()  # its service keeps the id of the run that could not begin
            self.run = self.begin("offline", parameters)
            raise

    def require_log_in(self) -> None:
        import wandb
        from wandb.sdk.lib.wbauth import authenticate_session

        # Not `wandb.login`, which would write the server into the user's own settings, nor `wandb.init` alone, which would ask.
        host = self.server or wandb.setup().settings.base_url
        if authenticate_session(host=host, source="forestgaps", prompt=False, update_session=False) is None:
            raise NoLogInError("no log-in for Weights & Biases; `wandb login` makes one, `wandb sync` sends what is on disk")

    def begin(self, mode: Mode, parameters: Mapping[str, object]) -> Any:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",  # the terminal belongs to the run
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=self.patience,
            finish_timeout=self.patience,
        )
        if self.server:
            settings.base_url = self.server
        return wandb.init(
            mode=mode,
            dir=str(self.folder),
            project=self.project,
            entity=self.entity,
            name=self.folder.resolve().name,
            id=self.run_id,
            resume="allow",
            reinit="create_new",  # beside a run the user may have of their own
            config=dict(parameters),
            settings=settings,
        )

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Points of curves. Those at steps the server has from before a resume are left out by wandb."""
        if self.run is not None:
            self.run.log({name.replace("@", "/"): value for name, value in values.items()}, step=step)

    def log_pictures(self, pictures: Iterable[tuple[str, Tensor]], step: int) -> None:
        """Pictures (3, H, W) uint8."""
        import wandb

        self.log({name: wandb.Image(picture.movedim(0, -1).numpy()) for name, picture in pictures}, step)

    def log_curves(self, curves: Iterable[tuple[str, list[list[float]]]], step: int) -> None:
        """Each curve as a table."""
        import wandb

        with staging_in(self.folder / "wandb"):
            self.log({name: wandb.Table(columns=list(COLUMNS), data=rows) for name, rows in curves}, step)

    def log_histograms(self, histograms: Iterable[tuple[str, Tensor, Tensor]], step: int) -> None:
        """Names, counts (n,) and edges (n + 1,)."""
        import wandb

        self.log({name: wandb.Histogram(np_histogram=(c.numpy(), e.numpy())) for name, c, e in histograms}, step)

    def log_files(self, kind: str, files: Sequence[Path], about: Mapping[str, Any] | None = None) -> None:
        """Those of the files that exist, as an artifact of the run."""
        import wandb

        there = [file for file in files if file.is_file()]
        if self.run is None or not there:
            return
        with staging_in(self.folder / "wandb"):
            artifact = wandb.Artifact(f"{self.run_id}-{kind}", type=kind, metadata=dict(about or {}))
            for file in there:
                artifact.add_file(str(file))
            self.run.log_artifact(artifact)

    def close(self, scores: Mapping[str, float], *, failed: bool) -> None:
        if self.run is not None:
            run, self.run = self.run, None
            run.summary.update({name.replace("@", "/"): value for name, value in scores.items()})
            run.finish(exit_code=int(failed))


@contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """Copies of files that wait for their upload are kept in this folder and not in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before
