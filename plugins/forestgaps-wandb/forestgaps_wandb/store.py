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

from forestgaps_core.files.checkpoint import save_checkpoint
from forestgaps_tracking.precision_recall import COLUMNS
from forestgaps_tracking.run_ids import read_run_id, write_run_id
from forestgaps_wandb.run_files import RunFiles

Mode = Literal["offline", "online", "disabled"]
FLUSH_S = 1.0  # from one write of wandb's file to the next; 15 by default
MAX_ROWS = 10_000  # kept for a resume
PATIENCE = 30.0  # seconds to wait for the server at the start, and for uploads at the end


class NoLogInError(Exception):
    """There is no log-in. A run must not wait for somebody to type one."""


@define(eq=False)
class WandbStore:
    """Every method may raise the errors of wandb.

    Attributes:
        folder: The run folder; wandb writes to `wandb` below it.
        run_id: Of the run; the same after a resume.
        from_checkpoint: Whether the id is from a checkpoint; if not, the id in the run folder replaces it.
        rows: Numbers by step that may not be on disk yet. A checkpoint keeps them.
        skip: Last step of an earlier session that is on disk; its rows and those before are not logged again.
    """

    folder: Path
    project: str
    mode: Mode = "offline"
    entity: str | None = None
    server: str | None = None
    patience: float = PATIENCE
    run_id: str = field(factory=lambda: uuid.uuid4().hex[:12])
    from_checkpoint: bool = False
    rows: dict[int, dict[str, float]] = field(factory=dict)
    skip: int = field(default=-1, init=False)
    run: Any = field(default=None, init=False)

    def open(self, parameters: Mapping[str, object]) -> None:
        """Start or continue the run.

        Without a connection or a log-in the run is logged to disk, and then the error is raised.
        """
        self.folder.mkdir(parents=True, exist_ok=True)  # otherwise wandb would write elsewhere
        self.choose_id()
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers; a value that the user has set is kept
        if self.mode != "online":
            self.run = self.start(self.mode, parameters)
            self.repeat_rows(self.mode)
            return
        try:
            self.require_log_in()
            self.run = self.start("online", parameters)
        except Exception:
            import wandb

            wandb.teardown()  # its service keeps the id of the run that could not start
            self.run = self.start("offline", parameters)
            self.repeat_rows("offline")
            raise
        self.repeat_rows("online")

    def choose_id(self) -> None:
        file = self.folder / "wandb" / "run_id.txt"
        known = read_run_id(file)
        if known is not None and not self.from_checkpoint:
            self.run_id = known
        if self.mode != "disabled" and known != self.run_id:
            write_run_id(file, self.run_id)

    def repeat_rows(self, mode: Mode) -> None:
        """Log again what an earlier session logged before its last checkpoint and wandb did not write to disk."""
        if mode == "offline":  # a server skips the steps that it has
            self.skip = RunFiles(self.folder, self.run_id).last_step("offline-run")
        for step, row in sorted(self.rows.items()):
            self.log(row, step)

    def unwritten_rows(self) -> dict[int, dict[str, float]]:
        """Return the last rows, at most MAX_ROWS, that may not be on disk yet."""
        last = RunFiles(self.folder, self.run_id).last_step()
        kept = sorted(step for step in self.rows if step > last)[-MAX_ROWS:]
        self.rows = {step: self.rows[step] for step in kept}
        return self.rows

    def require_log_in(self) -> None:
        import wandb
        from wandb.sdk.lib.wbauth import authenticate_session

        # Not `wandb.login`, which writes the server into the user's settings, nor `wandb.init` alone, which asks for a log-in.
        host = self.server or wandb.setup().settings.base_url
        if authenticate_session(host=host, source="forestgaps", prompt=False, update_session=False) is None:
            raise NoLogInError("no log-in for Weights & Biases; `wandb login` makes one, `wandb sync` sends what is on disk")

    def start(self, mode: Mode, parameters: Mapping[str, object]) -> Any:
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
            x_transaction_log_flush_interval=FLUSH_S,
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
            reinit="create_new",  # beside another run in this process
            config=dict(parameters),
            settings=settings,
        )

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log points of curves. Steps that the file or the server has from before a resume are left out."""
        if self.run is None or step <= self.skip:
            return
        if len(self.rows) > 2 * MAX_ROWS:
            self.unwritten_rows()
        row = {name.replace("@", "/"): value for name, value in values.items()}
        numbers = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
        if numbers:
            self.rows.setdefault(step, {}).update(numbers)
        self.run.log(row, step=step)

    def log_pictures(self, pictures: Iterable[tuple[str, Tensor]], step: int) -> None:
        """Log pictures (3, H, W) uint8."""
        import wandb

        self.log({name: wandb.Image(picture.movedim(0, -1).numpy()) for name, picture in pictures}, step)

    def log_curves(self, curves: Iterable[tuple[str, list[list[float]]]], step: int) -> None:
        """Log each curve as a table."""
        import wandb

        with stage_files_in(self.folder / "wandb"):
            self.log({name: wandb.Table(columns=list(COLUMNS), data=rows) for name, rows in curves}, step)

    def log_histograms(self, histograms: Iterable[tuple[str, Tensor, Tensor]], step: int) -> None:
        """Log histograms by name: counts (n,) and edges (n + 1,)."""
        import wandb

        self.log({name: wandb.Histogram(np_histogram=(c.numpy(), e.numpy())) for name, c, e in histograms}, step)

    def log_files(self, kind: str, files: Sequence[Path], about: Mapping[str, Any] | None = None) -> None:
        """Log those of the files that exist as an artifact of the run."""
        import wandb

        existing = [file for file in files if file.is_file()]
        if self.run is None or not existing:
            return
        with stage_files_in(self.folder / "wandb"):
            artifact = wandb.Artifact(f"{self.run_id}-{kind}", type=kind, metadata=dict(about or {}))
            for file in existing:
                artifact.add_file(str(file))
            self.run.log_artifact(artifact)

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        self.log_files("checkpoints", files)

    def log_network(self, network: Mapping[str, Any], scores: Mapping[str, float], step: int) -> None:
        """Log `network.safetensors`, which is in the folder `wandb` of the run, with its scores."""
        path = self.folder / "wandb" / "network.safetensors"
        save_checkpoint(path, network)
        self.log_files("model", [path], scores)

    def close(self, scores: Mapping[str, float], *, failed: bool, complete: bool = True) -> None:
        """End the session. wandb has no mark for a run that is paused."""
        if self.run is not None:
            run, self.run = self.run, None
            run.summary.update({name.replace("@", "/"): value for name, value in scores.items()})
            run.finish(exit_code=int(failed))


@contextmanager
def stage_files_in(folder: Path) -> Iterator[None]:
    """Let wandb copy files that wait for their upload to this folder, not to the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before
