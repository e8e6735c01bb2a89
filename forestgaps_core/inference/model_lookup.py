"""Find the network that a path or name on the command line refers to, or explain what to type instead."""

from __future__ import annotations

from pathlib import Path

from forestgaps_core.errors import CheckpointError, nearest
from forestgaps_core.files.checkpoint import ENDING
from forestgaps_core.inference.model_folder import PLAN, WEIGHTS, is_model_folder
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.registry import Plugins

RUN_FILE = "run.toml"
CHECKPOINTS = "checkpoints"


def is_run_folder(place: Path) -> bool:
    return (place / RUN_FILE).is_file()


def is_checkpoint(place: Path) -> bool:
    return place.suffix == ENDING and place.is_file() and not is_model_folder(place.parent)


def is_trained_network(place: Path, plugins: Plugins) -> bool:
    """Whether this names a trained network: a run folder, a checkpoint, a model folder or a file of one, an installed network.

    What is on disk comes before a name.
    """
    if place.is_dir():
        return is_run_folder(place) or is_model_folder(place)
    if place.exists():
        return is_checkpoint(place) or (place.name in (WEIGHTS, PLAN) and is_model_folder(place.parent))
    return len(place.parts) == 1 and place.name.rpartition(":")[2] in plugins.offers("network")


def require_run(place: Path, command: str, plugins: Plugins) -> None:
    """Check that this is a run folder.

    Args:
        command: Of forestgaps, for the line to type instead.

    Raises:
        CheckpointError: It is not; the message says what it is and what to type.
    """
    if is_run_folder(place):
        return
    if is_checkpoint(place):
        run = place.absolute().parent.parent
        if place.absolute().parent.name == CHECKPOINTS and is_run_folder(run):
            line = format_command(*command.split(), place.parent.parent, "--checkpoint", place.stem)
            raise CheckpointError(f"{place} is a checkpoint, and {command} takes its run folder. Type: {line}")
        raise CheckpointError(f"{place} is a checkpoint outside a run folder, without data. {suggest_command(command, place)}")
    if is_trained_network(place, plugins):
        raise CheckpointError(f"{place} is a trained network without data. {suggest_command(command, place)}")
    if place.suffix == ".toml" and place.is_file():
        raise CheckpointError(f"{place} is a run file, and {command} takes a run folder. Type: {format_command('train', place)}")
    if place.exists():
        raise CheckpointError(f"{place} is not a run folder: it has no {RUN_FILE}. Name a folder that forestgaps train wrote")
    known = (
        [other.name for other in place.absolute().parent.glob("*") if is_run_folder(other)]
        if place.absolute().parent.is_dir()
        else []
    )
    near = nearest(place.name, [*known, *plugins.networks()])
    runs = f"; run folders there: {', '.join(sorted(known)[:8])}" if known else ""
    raise CheckpointError(f"{place}: no such run folder{near}{runs}. Name a folder that forestgaps train wrote")


def suggest_command(command: str, place: Path) -> str:
    """The sentence on what to type for a network that has no data of its own."""
    if command.startswith("train"):
        return f"To train it further: {format_command('train', 'RUN.toml', '--from', place)}"
    if command.startswith("publish"):
        return "Calibrate the run folder that it was made from, or leave out --calibrate"
    line = format_command("evaluate", place, "--data", "FOLDER")
    return f"Name a prepared folder, a run folder or a run file. Type: {line}"
