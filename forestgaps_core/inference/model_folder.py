"""Model folders: weights, the description of the network, and a model card.

    model.safetensors   the evaluated weights, in float32 or float16
    network.json        how to build the network again, its resolution and thresholds, and the checksum of the weights
    README.md           what it is, for people

Reading one executes nothing: JSON and safetensors hold data only. Prediction takes a model folder in place of a run folder, and
also the name of a network that an installed package contains (the hook `forestgaps_networks`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_buffer_registration_hook, register_module_parameter_registration_hook

from forestgaps_core.config.converter import structure_config
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.errors import CheckpointError, PluginError
from forestgaps_core.files.checkpoint import find_wrong_parts, load_run_checkpoint
from forestgaps_core.files.safe_opening import MAX_WEIGHTS_BYTES, read_bytes, read_json
from forestgaps_core.files.state_tree import find_unstorable
from forestgaps_core.files.tensor_file import TensorFileError, read_tensors
from forestgaps_core.inference.input_layers import read_layers, record_layers
from forestgaps_core.plugins.names import format_error
from forestgaps_core.plugins.provenance import find_section, read_altered
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runtime.environment import Environment

WEIGHTS, PLAN, CARD = "model.safetensors", "network.json", "README.md"
PROGRAM = "program"  # in the place of the plan's weights, where a network was exported; see `forestgaps_core.inference.engines`
FORMAT = 1
SPARE = 1_000_000  # values of buffers that a network makes itself and does not keep among its weights


def load_trained_network(
    place: Path | str, checkpoint: str | None = None, plugins: Plugins | None = None
) -> tuple[Path, dict[str, Any]]:
    """Weights and the plan of their network, in the form of a checkpoint, and where they were found.

    Args:
        place: A run folder, a checkpoint file, a model folder, or the name of an installed network. What is there on disk
            comes before a name.
        checkpoint: Which checkpoint of a run folder.

    Raises:
        CheckpointError: There is no such thing, or it is damaged.
    """
    path = locate_network(place, plugins)
    if not is_model_folder(path):
        file, state = load_run_checkpoint(path, checkpoint)
        if wrong := find_wrong_parts(state["about"]):  # a Trainer may write what it likes there; it then serves to resume from
            raise CheckpointError(
                f"{file} does not say how to build its network again: {', '.join(wrong)} missing or of another type"
            )
        return file, state
    if checkpoint is not None:
        raise CheckpointError(f"{path} is a network, which has one set of weights; leave out the checkpoint {checkpoint!r}")
    return path, read_network_state(path)


def locate_network(place: Path | str, plugins: Plugins | None = None) -> Path:
    """The folder or file of a trained network; see `load_trained_network`.

    Raises:
        CheckpointError: There is nothing of that name, on disk or installed.
    """
    path = Path(place)
    if not path.exists() and len(path.parts) == 1:
        path = find_installed_network(path.name, plugins or Plugins.discover())
    if path.suffix == ".toml" and path.is_file():
        name = path.parent if path.name == "run.toml" else "RUN"
        raise CheckpointError(f"{path} is a run file, not a trained network. Name the run folder: {name}")
    # A file of a model folder stands for the folder.
    return path.parent if path.name in (WEIGHTS, PLAN) or (path.is_file() and is_model_folder(path.parent)) else path


def is_model_folder(path: Path) -> bool:
    return (path / PLAN).is_file()


def find_installed_network(name: str, plugins: Plugins) -> Path:
    """Return the folder of a network that a package contains.

    Raises:
        CheckpointError: No package brings one of this name, or its folder is missing.
    """
    head = f"no trained network in {name}: there is no such folder or file, and "
    if missing := plugins.missing_package("network", name):
        raise CheckpointError(f"{head}the network of this name {missing}")
    if not plugins.offers("network"):
        raise CheckpointError(
            f"{head}no installed package brings a network; installed networks: none; "
            'pip install "forestgaps-core[standard]" brings one'
        )
    try:
        offer = plugins.offer("network", name, plural="installed networks")
    except PluginError as error:
        clash = name in plugins.offers("network")
        raise CheckpointError(f"the network {error}" if clash else f"{head}{error}") from error
    plugin, record = offer.plugin, offer.record
    package, _, folder = record.target.partition(":")
    try:
        path: Path = Path(str(files(import_module(package)))) / folder
    except Exception as error:  # importing the package may raise anything
        raise CheckpointError(f"the network {name!r} of {plugin}: {package} cannot be imported ({format_error(error)})") from error
    if not is_model_folder(path):
        raise CheckpointError(f"the network {name!r} of {plugin}: there is no {PLAN} in {path}; reinstall the package")
    return path


# --- reading --------------------------------------------------------------------------------------------------------


def read_network_state(folder: Path) -> dict[str, Any]:
    """A model folder as the state of a checkpoint: `about`, `model` (float32, on the CPU), `callbacks` and `calibration`.

    Raises:
        CheckpointError: Damaged, incomplete, or of another format.
    """
    plan = read_plan(folder)
    if PROGRAM in plan:
        raise CheckpointError(f"{folder} holds an exported network, to map with; for all else take the run it was exported from")
    path = folder / WEIGHTS  # never a name that the plan gives
    try:
        data = read_bytes(path, MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; the network is incomplete") from error
    if compute_sha256(data) != plan["weights"].get("sha256"):
        raise CheckpointError(f"{path} does not have the checksum that {PLAN} names: it is damaged, or belongs to another network")
    try:
        tensors, _ = read_tensors(path, data)
    except TensorFileError as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    about = {key: plan[key] for key in ("config", "resolution_m", "components", "versions", "layers") if key in plan}
    return {"about": about, "model": weights, "callbacks": {}, "calibration": plan.get("calibration")}


def read_plan(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    try:
        plan = read_json(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({str(error).splitlines()[0]})") from error
    if wrong := find_unstorable(plan):
        raise CheckpointError(f"{path} is damaged: {wrong}")
    found = plan.get("format") if isinstance(plan, dict) else type(plan).__name__
    if found != FORMAT:
        raise CheckpointError(f"{path}: found format {found!r}, this version reads {FORMAT}")
    missing = [place.removeprefix("about.") for place in find_wrong_parts(plan)]
    if not isinstance(plan.get("weights", plan.get(PROGRAM)), dict):
        missing.append("weights")
    if missing:
        raise CheckpointError(f"{path} is incomplete or damaged: {', '.join(missing)}")
    return dict(plan)


@contextmanager
def limit_parameters(weights: Mapping[str, Tensor], source: Path | str) -> Iterator[None]:
    """While a network is built: refuses one with more values than its weights, before their memory is filled.

    A file of some bytes could otherwise ask for a network of any size.

    Raises:
        CheckpointError: It has more.
    """
    room = sum(tensor.numel() for tensor in weights.values())
    found = 0

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal found
        found += value.numel() if isinstance(value, Tensor) else 0
        if found > room + SPARE:
            raise CheckpointError(f"{source} asks for a network of more than {room:,} values, and holds weights for no more")

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def compute_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- writing --------------------------------------------------------------------------------------------------------


def check_network_name(name: str) -> str:
    """
    Raises:
        CheckpointError: safetensors cannot write the name.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise CheckpointError(f"the weights {name!r} have a name that is not Unicode; use another checkpoint")
    return name


def prepare_tensor(tensor: Tensor, name: str, half: bool) -> Tensor:
    """As it goes to the file: of its own memory, in rows; only what has two dimensions or more is worth halving."""
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"the weights {name!r} are a {type(tensor).__name__}, not a tensor; use another checkpoint")
    if tensor.is_complex():
        raise CheckpointError(f"the weights {name!r} are complex numbers, which are not written; use another checkpoint")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() == 1:  # float8, for which torch has no arithmetic
        tensor = tensor.float()
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if not tensor.isfinite().all():
        raise CheckpointError(f"the weights {name!r} are not all numbers: the training diverged; use another checkpoint")
    if half and tensor.dim() > 1:
        halved = tensor.to(torch.float16)
        if not halved.isfinite().all():
            raise CheckpointError(f"the weights {name!r} are beyond the range of float16; write the network without halving")
        return halved.contiguous()
    return tensor.float().contiguous()


def structure_recorded(said: Any, kind: type, place: str, source: Path | str) -> Any:
    """A config of what a file says.

    Raises:
        CheckpointError: It says something else.
    """
    config, problems = structure_config(said, kind, (place,))
    if problems:
        raise CheckpointError(f"{source}: {'; '.join(problems)}")
    return config


def make_plan(about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What of a checkpoint's `about` builds the network again. Paths and all that only training needs stay behind."""
    config = about["config"]
    tables = {kind: config[kind] for kind in ("model", "normalization") if kind in config}
    environment = structure_recorded(config["environment"], Environment, "environment", path)
    return {
        "resolution_m": float(about["resolution_m"]),
        "config": {
            **tables,
            "thresholds": {"values": list(structure_recorded(config["thresholds"], Thresholds, "thresholds", path).values)},
            "training": {"batch_size": config["training"]["batch_size"]},
            "environment": {"precision": environment.precision, "channels_last": environment.channels_last},
        },
        "components": {
            place: {
                **{key: str(made_with.get(key, "unknown")) for key in ("name", "distribution", "version")},
                **({"altered_by": altered_by} if (altered_by := read_altered(about, [place])) else {}),
            }
            for place, made_with in about["components"].items()
            if find_section(place) in tables
        },
        "versions": {str(name): str(version) for name, version in about["versions"].items()},
        **record_layers(read_layers(about, path)),
    }


def format_plan(plan: Mapping[str, Any], path: Path) -> str:
    """JSON.

    Raises:
        CheckpointError: A setting is no value of a run file, such as a tensor.
    """
    try:
        return json.dumps(plan, indent=2) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: a setting of its network is no plain value ({error})") from error
