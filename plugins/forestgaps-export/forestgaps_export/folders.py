"""From a trained network to a folder for another engine: traced, compared with torch, written."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from torch import nn

from forestgaps_core.components import Program
from forestgaps_core.config.converter import unstructure
from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.checkpoint import weights_to_use
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.engines import is_exported, record_engine
from forestgaps_core.inference.model_folder import (
    CARD,
    FORMAT,
    PLAN,
    PROGRAM,
    compute_sha256,
    format_name_for_code,
    format_plan,
    load_trained_network,
    locate_network,
    make_plan,
    remove_markup,
    structure_recorded,
)
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.registry import Plugins
from forestgaps_export import aoti, onnx_program, onnx_runtime
from forestgaps_export.comparison import Difference, compared, said
from forestgaps_export.tracing import traced

Format = Literal["onnx", "pt2"]


@frozen
class Exported:
    """What was written, and how far it is from torch."""

    program: Program
    difference: Difference


def export_network(
    run: Path | str, folder: Path | str, to: Format, *, checkpoint: str | None = None, plugins: Plugins | None = None
) -> Exported:
    """Write a trained network for another engine into a new folder.

    Args:
        run: What `load_predictor` takes.
        to: onnx, for onnxruntime and other programs; pt2, compiled for machines like this one.

    Raises:
        CheckpointError: No network in `run`, or it cannot be exported, or the result differs from torch; see `comparison`.
        DiskError: `folder` exists, or it cannot be written. Nothing is then left on disk.
    """
    plugins = plugins or Plugins.discover()
    path = locate_network(run, plugins)
    if is_exported(path):
        raise CheckpointError(f"{path} is exported already; name the run it was exported from")
    path, state = load_trained_network(path, checkpoint, plugins)
    plan = {"format": FORMAT, **make_plan(state["about"], path)}
    plan["config"]["environment"] = {"precision": "32", "channels_last": False}
    if scale := state.get("calibration"):
        plan["calibration"] = unstructure(structure_recorded(scale, Calibration, "calibration", path))
    file = onnx_program.FILE if to == "onnx" else aoti.FILE
    with new_folder(Path(folder), contents=(file, PLAN, CARD)) as draft:
        network = build_network(state, plugins, path).eval()
        parameters = sum(tensor.numel() for tensor in weights_to_use(state).values() if tensor.is_floating_point())
        program, data, difference = made(network, to, plan)
        plan[PROGRAM] = unstructure(program)
        plan["components"]["engine"] = record_engine(program.engine, "forestgaps-export", plugins)
        (draft / program.file).write_bytes(data)
        (draft / PLAN).write_text(format_plan(plan, path), encoding="utf-8")
        (draft / CARD).write_text(card(Path(folder).name, plan, program, parameters, difference), encoding="utf-8")
    return Exported(program, difference)


def made(network: nn.Module, to: Format, plan: Mapping[str, Any]) -> tuple[Program, bytes, Difference]:
    """The program of a network, what its file holds, and how far its answers are from those of torch.

    Raises:
        CheckpointError: It cannot be made, or is too far.
    """
    if to == "pt2":
        aoti.refuse_without_compiler()  # before the minute that all else takes
    folded = deepcopy(network)
    fold_batch_norms(folded)
    graph = traced(folded)
    about = {key: plan[key] for key in ("resolution_m", "config", "calibration") if key in plan} | {"multiple": graph.multiple}
    if to == "onnx":
        data, made_with = onnx_program.onnx_program(graph, about), {"torch": str(torch.__version__)}
    else:
        data, made_with = aoti.aoti_program(graph), aoti.machine()
    context_m = getattr(network, "context_m", None)
    program = Program(
        engine="onnxruntime" if to == "onnx" else "aoti",
        file=onnx_program.FILE if to == "onnx" else aoti.FILE,
        sha256=compute_sha256(data),
        bytes=len(data),
        multiple=graph.multiple,
        monotone=bool(getattr(network, "monotone", False)),
        context_m=None if context_m is None else float(context_m),
        made_with=made_with,
    )
    engine = onnx_runtime.OnnxRuntime() if to == "onnx" else aoti.Aoti()
    return program, data, compared(network, engine.open(data, program), graph)


def card(name: str, plan: Mapping[str, Any], program: Program, parameters: int, difference: Difference) -> str:
    """README.md of the folder: what the program knows."""
    levels = ", ".join(f"{level:g}" for level in plan["config"]["thresholds"]["values"])
    model = plan["components"].get("model", {})
    kind, owner, version = (remove_markup(model.get(key, "unknown")) for key in ("name", "distribution", "version"))
    slope, offset = (plan.get("calibration", {}).get(key, default) for key, default in (("slope", 1.0), ("offset", 0.0)))
    runs = (
        "Machine code: opening it runs it. For the torch and the processor that network.json names, and no other."
        if program.engine == "aoti"
        else "Data: a graph of known operations, with its weights, in one file."
    )
    return "\n".join(
        [
            f"# {remove_markup(name)}",
            "",
            f"A network that maps forest canopy gaps from a digital surface model (DSM), exported with forestgaps. {runs}",
            "",
            "| | |",
            "|---|---|",
            f"| network | `{kind}` of {owner} {version}, {parameters:,} parameters |",
            f"| `dsm` | (B, 1, H, W) float32, meters, pixels of {plan['resolution_m']:g} m; the median where there is no data |",
            "| `valid` | (B, 1, H, W) bool, False where there is no data |",
            f"| `thresholds` | (B, K) float32, meters, ascending; validated at {levels} m |",
            f"| `logits` | (B, K, H, W) float32; a gap has the probability 1 / (1 + exp(-({slope:.6g} * logit + {offset:.6g}))) |",
            f"| sizes | B and K any; H and W multiples of {program.multiple} |",
            f"| probabilities differ from those of torch by | {said(difference)} |",
            "",
            "```bash",
            format_command(
                "predict",
                "dsm.tif",
                "--network",
                format_name_for_code(name),
                "--engine",
                program.engine,
                "--out",
                "maps",
                portable=True,
            ),
            "```",
            "",
        ]
    )
