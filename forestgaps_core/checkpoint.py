"""Checkpoints: written whole or not at all, loaded as data only."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from forestgaps_core.errors import CheckpointError

FORMAT = 1


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain values) under a temporary name, sync, then rename: the file is whole or absent.

    Raises:
        CheckpointError: It could not be written; whatever stood at `path` before still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        discard(temporary)
        raise CheckpointError(
            f"{path} could not be written: {why(error, path.parent)}; earlier checkpoints are untouched"
        ) from error
    except BaseException:
        discard(temporary)
        raise


def discard(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def why(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.errno != errno.ENOSPC:
        return error.strerror or str(error)
    free = shutil.disk_usage(folder).free / 1e6
    return f"{error} ({free:.0f} MB free on its disk)"


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, on the CPU. Nothing in the file is executed.

    Raises:
        CheckpointError: No such file, damaged, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged part happens to break
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or no checkpoint of forestgaps: {first}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{path}: found format {found!r}, this version reads {FORMAT}")
    return state


def weights_to_use(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights the run was validated with: the average a callback keeps under `averaged_weights`, or else the trained ones."""
    kept = (part.get("averaged_weights") for part in state["callbacks"].values() if isinstance(part, Mapping))
    return next((average for average in kept if average), state["model"])


def network_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint to map with and not to resume from: the weights that the scores belong to, and how to build their network."""
    return {"about": state["about"], "model": dict(weights_to_use(state)), "callbacks": {}}


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The intact checkpoint of a run folder that was written last.

    Raises:
        CheckpointError: There is none; damaged ones are named.
    """
    files = sorted((folder / "checkpoints").glob("*.pt"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    damaged = []
    for file in files:
        try:
            return file, load_checkpoint(file)
        except CheckpointError as error:
            damaged.append(str(error))
    raise CheckpointError("; ".join([f"{folder} holds no checkpoint to go on from", *damaged]))


def checkpoint_of(run: Path, which: str | None = None) -> Path:
    """The checkpoint file of a run folder: `which`, or the best one, or the last; a file stands for itself.

    Raises:
        CheckpointError: There is none.
    """
    if run.is_file():
        return run
    folder = run / "checkpoints"
    for name in [which] if which else ["best", "last"]:
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    there = ", ".join(sorted(file.stem for file in folder.glob("*.pt"))) or "none"
    what = f"no checkpoint {which!r}" if which else "no trained network"
    raise CheckpointError(f"{what} in {run}; checkpoints there: {there}. `forestgaps train` makes a run folder")
