"""Checkpoints: written completely or not at all, with a checksum, and loaded as data only.

A checkpoint is a safetensors file (`forestgaps_core.files.tensor_file`). Its tensors are those of the state; its metadata holds the
tree of the state, with a reference in the place of each tensor (`forestgaps_core.files.state_tree`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.atomic import new_file
from forestgaps_core.files.safe_opening import MAX_WEIGHTS_BYTES
from forestgaps_core.files.state_tree import StateError, decode_state, encode_state
from forestgaps_core.files.tensor_file import TensorFileError, read_tensors, write_tensors

FORMAT = 3
ENDING = ".safetensors"
STATE = "state"  # the key of the tree in the metadata
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
    try:
        text, tensors = encode_state({"format": FORMAT, **state})
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if size > MAX_WEIGHTS_BYTES:
            raise StateError(f"its tensors take {size:,} bytes; at most {MAX_WEIGHTS_BYTES:,} are read")
        with new_file(path, needed=size, after=EARLIER) as file:
            write_tensors(file, tensors, {STATE: text})
    except (StateError, TensorFileError) as error:
        raise CheckpointError(
            f"{path} was not written, because it could not be loaded again: {error}; change the component or callback whose state "
            "it is, so that its `state_dict` holds plain values and tensors only"
        ) from error


def write_state_file(file: IO[bytes], state: Any) -> None:
    """Write a tree of tensors and plain values that is not a checkpoint, in the same form.

    Raises:
        StateError: It holds something else.
        OSError: The disk refuses it.
    """
    text, tensors = encode_state(state)
    write_tensors(file, tensors, {STATE: text})


def read_state_file(path: Path) -> Any:
    """Return the tree in a file that `write_state_file` or `save_checkpoint` wrote. Nothing in the file is executed.

    Raises:
        StateError, TensorFileError: It is damaged, or something else.
        OSError: It cannot be read.
    """
    tensors, texts = read_tensors(path)
    if STATE not in texts or "sha256" not in texts:
        raise TensorFileError("it has no state with a checksum in its metadata")
    return decode_state(texts[STATE], tensors)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, on the CPU. Nothing in the file is executed.

    Raises:
        CheckpointError: No such file, damaged, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        state = read_state_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: it {error.strerror or error}") from error
    except (StateError, TensorFileError, MemoryError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of forestgaps: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{path}: found format {found!r}, this version reads {FORMAT}")
    check_state(state, str(path))
    return state


def check_state(state: Mapping[str, Any], source: str) -> None:
    """Refuse a state with parts missing or of another type.

    Raises:
        CheckpointError: Names each.
    """
    wrong = [] if isinstance(state.get("about"), Mapping) else ["about"]
    if not isinstance(state.get("model"), Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state["model"].items()
    ):
        wrong.append("model")
    if not isinstance(state.get("callbacks"), Mapping):
        wrong.append("callbacks")
    if is_wrong_place(state):
        wrong.append("evaluated_weights")
    position = state.get("position", {**dict.fromkeys(POSITION, 0), "stopped": None})
    if not isinstance(position, Mapping) or not all(
        type(position.get(key)) is int and 0 <= position[key] < 1 << 62 for key in POSITION
    ):
        wrong.append("position")
    elif not isinstance(position.get("stopped", 0), str | None):
        wrong.append("position.stopped")
    if wrong:
        raise CheckpointError(
            f"{source} is damaged or not a checkpoint of forestgaps: {', '.join(wrong)} missing or of another type"
        )


def is_wrong_place(state: Mapping[str, Any]) -> bool:
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


def find_wrong_parts(about: Any) -> list[str]:
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


def choose_weights(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights that the network of this checkpoint is evaluated with.

    They are the trained ones, or those of the one callback that declares that its state holds them (EMA weights); the
    checkpoint records which (`evaluated_weights`). What a callback's other state is called plays no part.
    """
    place = state.get("evaluated_weights")
    if place is None:
        return dict(state["model"])
    kept = state["callbacks"].get(place["callback"])
    weights = kept.get(place["key"]) if isinstance(kept, Mapping) else None
    return dict(weights or state["model"])  # None and {}: no step has been taken yet


def load_part(what: str, load: Callable[[Any], object], state: Any) -> None:
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


def drop_training_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint to map with and not to resume from: the weights that the scores belong to, and how to build their network."""
    return {"about": state["about"], "model": dict(choose_weights(state)), "callbacks": {}}


def load_newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The intact checkpoint of a run folder to go on from, and sentences about better ones that are damaged: `last`, or else
    what was written last.

    A newer one beside `last` is of an epoch that ended while not all of its checkpoints were written; from `last` they all
    are, again.

    Raises:
        CheckpointError: There is none; damaged ones are named.
    """
    there = (folder / "checkpoints").glob(f"*{ENDING}")
    files = sorted(there, key=lambda file: (file.stem == "last", file.stat().st_mtime_ns), reverse=True)
    damaged: list[str] = []
    for file in files:
        try:
            return file, load_checkpoint(file), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    raise CheckpointError("; ".join([f"{folder} holds no checkpoint to go on from", *damaged]))


def find_checkpoint(run: Path, which: str | None = None) -> Path:
    """The checkpoint file of a run folder: `which`, or the best one, or the last; a file stands for itself.

    Raises:
        CheckpointError: There is none.
    """
    if run.is_file():
        return run
    folder = run / "checkpoints"
    there = sorted(file.stem for file in folder.glob(f"*{ENDING}"))
    for name in [which] if which else ["best", "last"]:
        if name in there:
            return folder / f"{name}{ENDING}"
    what = f"no checkpoint {which!r}" if which else "no trained network"
    raise CheckpointError(
        f"{what} in {run}; checkpoints there: {', '.join(there) or 'none'}. `forestgaps train` makes a run folder"
    )


def load_run_checkpoint(run: Path, which: str | None = None) -> tuple[Path, dict[str, Any]]:
    """What `find_checkpoint` finds, loaded.

    Raises:
        CheckpointError: There is none, or it is damaged; then names one of the run that is intact.
    """
    path = find_checkpoint(run, which)
    try:
        return path, load_checkpoint(path)
    except CheckpointError as error:
        if run.is_dir():
            try:
                intact, _, _ = load_newest_checkpoint(run)
            except CheckpointError:
                raise error from None
            raise CheckpointError(f"{error}; {intact} is intact: --checkpoint {intact.stem}") from error
        raise
