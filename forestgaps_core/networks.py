"""Trained networks to hand on: a folder of weights, the plan of their network, and a card to read.

    model.safetensors   the weights the scores belong to, in float32 or float16
    network.json        how to build the network again, its resolution and thresholds, and the checksum of the weights
    README.md           what it is, for people

Reading one executes nothing: JSON and safetensors hold data only. Wherever a run folder serves to map with, a network folder does,
and so does the name of a network that an installed package brings along (the hook `forestgaps_networks`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forestgaps_core.checkpoint import checkpoint_of, load_checkpoint, weights_to_use, why
from forestgaps_core.errors import CheckpointError, nearest
from forestgaps_core.plugins import Plugins

WEIGHTS, PLAN, CARD = "model.safetensors", "network.json", "README.md"
FORMAT = 1
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "config": dict,
    "resolution_m": (int, float),
    "components": dict,
    "versions": dict,
    "weights": dict,
}


def trained_network(
    place: Path | str, checkpoint: str | None = None, plugins: Plugins | None = None
) -> tuple[Path, dict[str, Any]]:
    """Weights and the plan of their network, in the form of a checkpoint, and where they were found.

    Args:
        place: A run folder, a checkpoint file, a network folder, or the name of an installed network. What is there on disk
            comes before a name.
        checkpoint: Which checkpoint of a run folder.

    Raises:
        CheckpointError: There is no such thing, or it is damaged.
    """
    path = Path(place)
    if not path.exists() and len(path.parts) == 1:
        path = installed_network(path.name, plugins or Plugins.discover())
    if path.name in (WEIGHTS, PLAN):
        path = path.parent
    if not is_network(path):
        file = checkpoint_of(path, checkpoint)
        return file, load_checkpoint(file)
    if checkpoint is not None:
        raise CheckpointError(f"{path} is a network, which has one set of weights; leave out the checkpoint {checkpoint!r}")
    return path, read_network(path)


def is_network(path: Path) -> bool:
    return (path / PLAN).is_file()


def installed_network(name: str, plugins: Plugins) -> Path:
    """The folder of a network that a package brings along.

    Raises:
        CheckpointError: No package brings one of this name, or its folder is missing.
    """
    networks = plugins.networks()
    if name not in networks:
        there = ", ".join(networks) or 'none; pip install "forestgaps-core[standard]" brings one'
        raise CheckpointError(
            f"no trained network in {name}: there is no such folder or file, and no installed package brings a network of that "
            f"name{nearest(name, networks)}; installed networks: {there}"
        )
    plugin, record = networks[name]
    package, _, folder = record.target.partition(":")
    try:
        path = Path(str(files(import_module(package)))) / folder
    except ImportError as error:
        raise CheckpointError(f"the network {name!r} of {plugin}: {package} cannot be imported ({error})") from error
    if not is_network(path):
        raise CheckpointError(f"the network {name!r} of {plugin}: there is no {PLAN} in {path}; reinstall the package")
    return path


# --- reading --------------------------------------------------------------------------------------------------------


def read_network(folder: Path) -> dict[str, Any]:
    """A network folder as the state of a checkpoint: `about`, `model` (float32, on the CPU), `callbacks` and `calibration`.

    Raises:
        CheckpointError: Damaged, incomplete, of another format, or safetensors is not installed.
    """
    plan = read_plan(folder)
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; the network is incomplete") from error
    if digest(data) != plan["weights"].get("sha256"):
        raise CheckpointError(f"{path} does not have the checksum that {PLAN} names: it is damaged, or belongs to another network")
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in loaded(data, path).items()}
    about = {key: plan[key] for key in ("config", "resolution_m", "components", "versions")}
    return {"about": about, "model": weights, "callbacks": {}, "calibration": plan.get("calibration")}


def read_plan(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({str(error).splitlines()[0]})") from error
    found = plan.get("format") if isinstance(plan, dict) else type(plan).__name__
    if found != FORMAT:
        raise CheckpointError(f"{path}: found format {found!r}, this version reads {FORMAT}")
    missing = [key for key, kind in NEEDED.items() if not isinstance(plan.get(key), kind)]
    tables = plan.get("config") if isinstance(plan.get("config"), dict) else {}
    missing += [
        f"config.{key}" for key in ("model", "thresholds", "training", "environment") if not isinstance(tables.get(key), dict)
    ]
    if missing:
        raise CheckpointError(f"{path} is incomplete or damaged: {', '.join(missing)}")
    return dict(plan)


def loaded(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors().load(data))
    except CheckpointError:
        raise
    except Exception as error:  # whatever the damaged part happens to break
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error


def safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        raise CheckpointError(
            f'network folders need safetensors and numpy: pip install "forestgaps-core[networks]" ({error})'
        ) from error


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- writing --------------------------------------------------------------------------------------------------------


def save_network(
    run: Path | str,
    folder: Path | str,
    *,
    half: bool = False,
    checkpoint: str | None = None,
    calibration: Mapping[str, float] | None = None,
    card: str | None = None,
    plugins: Plugins | None = None,
) -> Path:
    """Write a network folder from a trained network.

    Args:
        run: What `load_predictor` takes.
        folder: To write; must not exist.
        half: Store the weights of convolutions and products in float16: half the size. Norms and biases stay float32.
        calibration: `slope` and `offset` of the logits; by default those of `run`, if it has any.
        card: Text of its README.md; by default the facts.

    Raises:
        CheckpointError: No network in `run`, `folder` exists, or it cannot be written. Nothing is then left on disk.
    """
    _, state = trained_network(run, checkpoint, plugins)
    folder = Path(folder)
    weights = {name: stored(tensor, name, half) for name, tensor in weights_to_use(state).items()}
    with new_folder(folder) as draft:
        try:
            data = safetensors().save(weights, metadata={"format": "pt"})
        except ImportError as error:
            raise CheckpointError(f'writing safetensors needs numpy: pip install "forestgaps-core[networks]" ({error})') from error
        plan = {
            "format": FORMAT,
            **plan_of(state["about"]),
            "weights": {
                "file": WEIGHTS,
                "sha256": digest(data),
                "bytes": len(data),
                "stored_as": "float16" if half else "float32",
                "parameters": sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
            },
        }
        if scale := calibration or state.get("calibration"):
            plan["calibration"] = {key: float(scale[key]) for key in ("slope", "offset")}
        (draft / WEIGHTS).write_bytes(data)
        (draft / PLAN).write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        (draft / CARD).write_text(card if card is not None else facts_card(folder.name, plan), encoding="utf-8")
    return folder


def stored(tensor: Tensor, name: str, half: bool) -> Tensor:
    """As it goes to the file: of its own memory, in rows; only what has two dimensions or more is worth halving."""
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous().clone()
    if not tensor.isfinite().all():
        raise CheckpointError(f"the weights {name!r} are not all numbers: the training diverged; use another checkpoint")
    if half and tensor.dim() > 1:
        halved = tensor.to(torch.float16)
        if not halved.isfinite().all():
            raise CheckpointError(f"the weights {name!r} are beyond the range of float16; write the network without halving")
        return halved.contiguous()
    return tensor.float().contiguous().clone()


def plan_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's `about` builds the network again. Paths and all that only training needs stay behind."""
    config = about["config"]
    tables = {kind: config[kind] for kind in ("model", "normalization") if kind in config}
    environment = {key: config["environment"][key] for key in ("precision", "channels_last") if key in config["environment"]}
    return {
        "resolution_m": float(about["resolution_m"]),
        "config": {
            **tables,
            "thresholds": {"values": list(config["thresholds"]["values"])},
            "training": {"batch_size": config["training"]["batch_size"]},
            "environment": environment,
        },
        "components": {kind: about["components"][kind] for kind in tables if kind in about["components"]},
        "versions": dict(about["versions"]),
    }


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its name when the block ends, and vanishes on any error."""
    if folder.exists():
        raise CheckpointError(f"{folder} exists; nothing is overwritten, so name another folder")
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        yield draft
        draft.chmod(folder.parent.stat().st_mode & 0o777)  # mkdtemp's is for the owner alone
        draft.rename(folder)
    except BaseException as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise CheckpointError(f"{folder} could not be written: {why(error, folder.absolute().parent)}") from error
        raise


def facts_card(name: str, plan: Mapping[str, Any]) -> str:
    """A card for those who write none: what the program knows."""
    made_with = "; ".join(
        f"{kind} `{about['name']}` of {about['distribution']} {about['version']}" for kind, about in plan["components"].items()
    )
    levels = ", ".join(f"{level:g}" for level in plan["config"]["thresholds"]["values"])
    weights = plan["weights"]
    return "\n".join(
        [
            f"# {name}",
            "",
            "A network that maps forest canopy gaps from a digital surface model (DSM), made with forestgaps.",
            "",
            "| | |",
            "|---|---|",
            f"| input | DSM in metres, pixels of {plan['resolution_m']:g} m |",
            f"| output | probability that canopy is lower than a threshold; validated at {levels} m |",
            f"| parameters | {weights['parameters']:,}, stored as {weights['stored_as']}, {weights['bytes'] / 1e6:.1f} MB |",
            f"| needs | {made_with} |",
            "",
            "```bash",
            f"forestgaps predict dsm.tif --network {name} --out maps -t 2 -t 5 -t 10",
            "```",
            "",
            "Data it was trained on, scores, where it fails, and licence: to be written by whoever shares it.",
            "",
        ]
    )
