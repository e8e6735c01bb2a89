"""Writing a model folder: what is written is opened and its network is built again, before the folder takes its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path

from forestgaps_core.config.converter import unstructure
from forestgaps_core.errors import CheckpointError, ForestgapsError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.files.tensor_file import pack_tensors
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.model_card import list_companion_files, make_changed_card, make_default_card, read_card
from forestgaps_core.inference.model_folder import (
    CARD,
    FORMAT,
    PLAN,
    WEIGHTS,
    check_network_name,
    compute_sha256,
    format_plan,
    is_model_folder,
    load_trained_network,
    make_plan,
    prepare_tensor,
    read_network_state,
    read_plan,
    structure_recorded,
)
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.registry import Plugins


def save_network(
    run: Path | str,
    folder: Path | str,
    *,
    half: bool = False,
    checkpoint: str | None = None,
    calibration: Callable[[], Mapping[str, float]] | Mapping[str, float] | None = None,
    card: str | None = None,
    plugins: Plugins | None = None,
) -> Path:
    """Write a model folder from a trained network.

    Args:
        run: What `load_predictor` takes.
        folder: To write; must not exist.
        half: Store the weights of convolutions and products in float16: half the size. Norms and biases stay float32.
        calibration: `slope` and `offset` of the logits; a function is called once it is known that the folder can be
            written. By default those of `run`, if it has any.
        card: Text of its README.md; by default that of the model folder `run`, or else the facts. The other files of such a
            folder (scores, license, credit) are copied.

    Raises:
        CheckpointError: No network in `run`.
        DiskError: `folder` exists, or it cannot be written. Nothing is then left on disk.
    """
    path, state = load_trained_network(run, checkpoint, plugins)
    folder = Path(folder)
    source = read_plan(path) if is_model_folder(path) else None  # a network that is written again
    half = half or (source is not None and source["weights"].get("stored_as") == "float16")
    original = read_card(path / CARD) if source is not None else None
    weights = {check_network_name(name): prepare_tensor(tensor, name, half) for name, tensor in choose_weights(state).items()}
    companions = [] if source is None else [*list_companion_files(path, (WEIGHTS, PLAN, CARD))]
    contents = (WEIGHTS, PLAN, CARD, *(escape(file.name) for file in companions))
    with new_folder(folder, purpose="publish", contents=contents) as draft:
        data = pack_tensors(weights, {"format": "pt"})
        plan = {
            "format": FORMAT,
            **make_plan(state["about"], path),
            "weights": {
                "file": WEIGHTS,
                "sha256": compute_sha256(data),
                "bytes": len(data),
                "stored_as": "float16" if half else "float32",
                "parameters": sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
            },
        }
        if scale := (calibration() if callable(calibration) else calibration) or state.get("calibration"):
            plan["calibration"] = unstructure(structure_recorded(scale, Calibration, "calibration", run))
        (draft / WEIGHTS).write_bytes(data)
        (draft / PLAN).write_text(format_plan(plan, path), encoding="utf-8")
        if card is None:
            card = make_default_card(folder.name, plan)
            if source is not None and original is not None:
                same = all(plan.get(key) == source.get(key) for key in ("weights", "calibration"))
                card = original if same else make_changed_card(card, original)
        (draft / CARD).write_text(card, encoding="utf-8")
        for file in companions:
            shutil.copyfile(file, draft / file.name)
        check_draft(draft, path, plugins or Plugins.discover())
    return folder


def check_draft(draft: Path, source: Path, plugins: Plugins) -> None:
    """Open what was written, and build its network.

    Raises:
        CheckpointError: It cannot be used.
    """
    try:
        build_network(read_network_state(draft), plugins, source)
    except ForestgapsError as error:
        reason = str(error).replace(str(draft), str(source))
        raise CheckpointError(f"nothing was written, because it could not be used: {reason}") from error
