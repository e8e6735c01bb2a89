"""Checkpoints: written completely or not at all, with a checksum, and loaded as data only.

A checkpoint is what `torch.save` writes, followed by 48 bytes: the SHA-256 of all that stands before, and the word `SEAL`. Readers
of torch files skip the tail.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.atomic import new_file
from forestgaps_core.files.bounded_reading import MAX_WEIGHTS_BYTES, open_regular_file
from forestgaps_core.files.pickle_scan import PickleError, scan_pickle
from forestgaps_core.files.safe_loading import not_plain
from forestgaps_core.files.torch_archive import ArchiveError, find_parts

FORMAT = 2
SEAL = b"forestgaps seal\n"
DIGEST = hashlib.sha256().digest_size
EARLIER = "earlier checkpoints are untouched"
# What must stand where, for everything that reads checkpoints; more may stand there.
POSITION = ("epoch", "batch", "step")
TABLES = ("model", "thresholds", "training", "environment")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain values); the file is whole or absent.

    Raises:
        CheckpointError: Something in `state` could not be loaded again.
        DiskError: It could not be written; whatever stood at `path` before still stands.
    """
    if reason := not_plain(state):
        raise CheckpointError(unloadable(path, reason))
    needed = bytes_of(state)
    with new_file(path, needed=needed, after=EARLIER) as file:
        sealed = Sealing(file)
        try:
            torch.save({"format": FORMAT, **state}, sealed)  # type: ignore[arg-type]  # it writes, which is all that is asked of it
        except RuntimeError as error:  # torch's zip writer hides what the disk said
            if sealed.failed is None:
                raise
            raise sealed.failed from error
        file.flush()
        check_written(path, Path(file.name))
        file.write(sealed.digest.digest() + SEAL)


def check_written(path: Path, draft: Path) -> None:
    """Refuse to keep what `load_checkpoint` would refuse.

    Raises:
        CheckpointError: With the reason.
    """
    with zipfile.ZipFile(draft) as archive:
        sizes = {entry.filename.partition("/")[2]: entry.file_size for entry in archive.infolist()}
        values = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    try:
        scan_pickle(values, {name.removeprefix("data/"): size for name, size in sizes.items()})
    except PickleError as error:
        raise CheckpointError(unloadable(path, str(error))) from error


def unloadable(path: Path, reason: str) -> str:
    return (
        f"{path} was not written, because it could not be loaded again: {reason}; change the component or callback whose state "
        "it is, so that its `state_dict` holds plain values and tensors only"
    )


class Sealing(io.RawIOBase):
    """A file that is summed up while it is written; keeps what the disk said."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.failed: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.failed = error
            raise


def bytes_of(state: Any) -> int:
    """Memory of the tensors in a state, near enough the size of its file."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(bytes_of, state.values()))
    return sum(map(bytes_of, state)) if isinstance(state, list | tuple) else 0


# --- loading --------------------------------------------------------------------------------------------------------


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, on the CPU. Nothing in the file is executed.

    Raises:
        CheckpointError: No such file, damaged, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        data = read_sealed(path)
        check_archive(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: it {error.strerror or error}") from error
    except Exception as error:  # torch raises whatever the damaged part happens to break
        # torch's own words on what is not data advise to load it all the same.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        reason = "it holds more than data, and was not read" if isinstance(error, UnpicklingError) else first
        raise CheckpointError(f"{path} is damaged or no checkpoint of forestgaps: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{path}: found format {found!r}, this version reads {FORMAT}")
    check_state(state, str(path))
    return state


def read_sealed(path: Path) -> bytes:
    """Return what stands before the seal of a file, read once: what is checked is what is used.

    Raises:
        CheckpointError: It is not, byte for byte, what was written.
        OSError: It cannot be read.
    """
    with open_regular_file(path) as file:
        length = os.fstat(file.fileno()).st_size - DIGEST - len(SEAL)
        if length > MAX_WEIGHTS_BYTES:
            raise CheckpointError(f"{path} has {length:,} bytes; a checkpoint of at most {MAX_WEIGHTS_BYTES:,} is read")
        file.seek(max(length, 0))
        digest, seal = file.read(DIGEST), file.read(len(SEAL) + 1)
        if seal != SEAL:
            raise CheckpointError(f"{path} is damaged or no checkpoint of forestgaps: its seal is missing, so it may be cut short")
        file.seek(0)
        data = file.read(max(length, 0))
    if hashlib.sha256(data).digest() != digest:
        raise CheckpointError(f"{path} is damaged: its contents do not have the checksum that was written with them")
    return data


def check_archive(data: bytes) -> None:
    """Refuse what takes more time or memory than the file's size accounts for, before any of it is spent.

    Raises:
        ValueError: A clause with the reason.
    """
    try:
        parts = find_parts(data)
    except ArchiveError as error:
        raise ValueError(f"it {error}") from None
    if "data.pkl" not in parts:
        raise ValueError("it has no values")
    storages = {name.removeprefix("data/"): part.stop - part.start for name, part in parts.items() if name.startswith("data/")}
    scan_pickle(data[parts["data.pkl"]], storages)


def check_state(state: Mapping[str, Any], source: str) -> None:
    """Refuse a state with parts missing or of another type.

    Raises:
        CheckpointError: Names each.
    """
    if reason := not_plain(state):
        raise CheckpointError(f"{source} is damaged or no checkpoint of forestgaps: {reason}")
    wrong = [] if isinstance(state.get("about"), Mapping) else ["about"]
    if not isinstance(state.get("model"), Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state["model"].items()
    ):
        wrong.append("model")
    if not isinstance(state.get("callbacks"), Mapping):
        wrong.append("callbacks")
    if wrong_place(state):
        wrong.append("evaluated_weights")
    position = state.get("position", {**dict.fromkeys(POSITION, 0), "stopped": None})
    if not isinstance(position, Mapping) or not all(
        type(position.get(key)) is int and 0 <= position[key] < 1 << 62 for key in POSITION
    ):
        wrong.append("position")
    elif not isinstance(position.get("stopped", 0), str | None):
        wrong.append("position.stopped")
    if wrong:
        raise CheckpointError(f"{source} is damaged or no checkpoint of forestgaps: {', '.join(wrong)} missing or of another type")


def wrong_place(state: Mapping[str, Any]) -> bool:
    """Whether what says which weights to evaluate with is of another form, or names no weights."""
    place = state.get("evaluated_weights")
    if place is None:
        return False
    if not isinstance(place, Mapping) or not all(isinstance(place.get(key), str) for key in ("callback", "key")):
        return True
    callbacks = state.get("callbacks")
    kept = callbacks.get(place["callback"]) if isinstance(callbacks, Mapping) else None
    weights = kept.get(place["key"], {}) if isinstance(kept, Mapping) else {}
    return weights is not None and not (
        isinstance(weights, Mapping) and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items())
    )


def wrong_parts(about: Any) -> list[str]:
    """What is missing or of another type in the part of a checkpoint that says how to build its network again."""
    if not isinstance(about, Mapping):
        return ["about"]
    size = about.get("resolution_m")
    right: dict[str, bool] = {
        "about.resolution_m": isinstance(size, int | float) and not isinstance(size, bool) and 0 < size < float("inf"),
        "about.versions": isinstance(about.get("versions"), Mapping),
        "about.components": isinstance(about.get("components"), Mapping)
        and all(isinstance(component, Mapping) for component in about["components"].values()),
    }
    config = about.get("config")
    tables = config if isinstance(config, Mapping) else {}
    for name in TABLES:
        right[f"about.config.{name}"] = isinstance(tables.get(name), Mapping)
    for name in ("model", "normalization"):
        if name in tables:
            right[f"about.config.{name}"] = isinstance(tables[name], Mapping) and isinstance(tables[name].get("name"), str)
    if right["about.config.training"]:
        count = tables["training"].get("batch_size")
        right["about.config.training.batch_size"] = type(count) is int and count > 0
    return [place for place, is_right in right.items() if not is_right]


def weights_to_use(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights that the network of this checkpoint is evaluated with.

    They are the trained ones, or those of the one callback that declares that its state holds them (EMA weights); the
    checkpoint records which (`evaluated_weights`). What a callback's other state is called plays no part.
    """
    place = state["evaluated_weights"] if "evaluated_weights" in state else evaluated_weights_in_0_1(state)
    if place is None:
        return dict(state["model"])
    kept = state["callbacks"].get(place["callback"])
    weights = kept.get(place["key"]) if isinstance(kept, Mapping) else None
    return dict(weights or state["model"])  # None and {}: no step has been taken yet


def evaluated_weights_in_0_1(state: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return where the EMA weights are in a checkpoint of 0.1, which records only what its callbacks are."""
    about = state.get("about")
    components = about.get("components") if isinstance(about, Mapping) else None
    for label in state["callbacks"]:
        made_with = components.get(f"callbacks.{label}") if isinstance(components, Mapping) else None
        known = made_with if isinstance(made_with, Mapping) else {}
        if (known.get("name"), known.get("distribution")) == ("ema_weights", "forestgaps-callbacks"):
            return {"callback": label, "key": "ema_weights"}
    return None


def loaded(what: str, load: Callable[[Any], object], state: Any) -> None:
    """Give a part its state.

    Raises:
        CheckpointError: It does not take it: the checkpoint is of something else.
    """
    try:
        load(state)
    except Exception as error:  # a part of a plugin may raise anything
        raise CheckpointError(
            f"the checkpoint does not fit the {what} of this run: {' '.join(str(error).split())[:300]}"
        ) from error


def network_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint to map with and not to resume from: the weights that the scores belong to, and how to build their network."""
    return {"about": state["about"], "model": dict(weights_to_use(state)), "callbacks": {}}


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The intact checkpoint of a run folder to go on from, and sentences about better ones that are damaged: `last.pt`, or else
    what was written last.

    A newer one beside `last.pt` is of an epoch that ended while not all of its checkpoints were written; from `last.pt` they all
    are, again.

    Raises:
        CheckpointError: There is none; damaged ones are named.
    """
    there = (folder / "checkpoints").glob("*.pt")
    files = sorted(there, key=lambda file: (file.stem == "last", file.stat().st_mtime_ns), reverse=True)
    damaged: list[str] = []
    for file in files:
        try:
            return file, load_checkpoint(file), damaged
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
    there = sorted(file.stem for file in folder.glob("*.pt"))
    for name in [which] if which else ["best", "last"]:
        if name in there:
            return folder / f"{name}.pt"
    what = f"no checkpoint {which!r}" if which else "no trained network"
    raise CheckpointError(
        f"{what} in {run}; checkpoints there: {', '.join(there) or 'none'}. `forestgaps train` makes a run folder"
    )


def load_chosen(run: Path, which: str | None = None) -> tuple[Path, dict[str, Any]]:
    """What `checkpoint_of` finds, loaded.

    Raises:
        CheckpointError: There is none, or it is damaged; then names one of the run that is intact.
    """
    path = checkpoint_of(run, which)
    try:
        return path, load_checkpoint(path)
    except CheckpointError as error:
        if run.is_dir():
            try:
                intact, _, _ = newest_checkpoint(run)
            except CheckpointError:
                raise error from None
            raise CheckpointError(f"{error}; {intact} is intact: --checkpoint {intact.stem}") from error
        raise
