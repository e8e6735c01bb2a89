"""Export a trained network to a folder for another engine: trace, compare with torch, write."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from torch import nn

from forestgaps_core.components import Program
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.exporting import describe_program, load_export_source, write_program
from forestgaps_core.inference.model_card import format_card, format_levels, remove_markup
from forestgaps_core.inference.model_folder import CARD, PLAN
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.registry import Plugins
from forestgaps_export import aoti, onnx_program, onnx_runtime
from forestgaps_export.comparison import Difference, compare_networks, describe_difference
from forestgaps_export.tracing import trace_network

Format = Literal["onnx", "pt2"]


@frozen
class Exported:
    """The exported program, and its difference from torch."""

    program: Program
    difference: Difference


def export_network(
    run: Path | str, folder: Path | str, to: Format, *, checkpoint: str | None = None, plugins: Plugins | None = None
) -> Exported:
    """Write a trained network for another engine into a new folder.

    Args:
        run: A run folder, checkpoint, model folder or name of an installed model, as for `load_predictor`.
        to: onnx, for onnxruntime and other programs; or pt2, compiled for machines like this one.

    Raises:
        CheckpointError: `run` contains no network, it cannot be exported, or the result differs from torch; see `comparison`.
        DiskError: `folder` exists or cannot be written. In this case, nothing remains on disk.
    """
    plugins = plugins or Plugins.discover()
    source = load_export_source(run, checkpoint, plugins, channels_last=False)
    file = onnx_program.FILE if to == "onnx" else aoti.FILE
    with new_folder(Path(folder), contents=(file, PLAN, CARD)) as draft:
        network = build_network(source.state, plugins, source.path).eval()
        parameters = sum(tensor.numel() for tensor in choose_weights(source.state).values() if tensor.is_floating_point())
        program, data, difference = export_program(network, to, source.plan)
        write_program(
            *(draft, source, program, data),
            distribution="forestgaps-export",
            plugins=plugins,
            make_card=lambda plan: make_card(Path(folder).name, plan, program, parameters, difference),
        )
    return Exported(program, difference)


def export_program(network: nn.Module, to: Format, plan: Mapping[str, Any]) -> tuple[Program, bytes, Difference]:
    """Return the program of a network, the content of its file, and the difference of its results from those of torch.

    Raises:
        CheckpointError: The network cannot be exported, or its results differ too much.
    """
    if to == "pt2":
        aoti.refuse_without_compiler()  # first, because the other steps take about a minute
    folded = deepcopy(network)
    fold_batch_norms(folded)
    graph = trace_network(folded)
    about = {key: plan[key] for key in ("resolution_m", "config", "calibration") if key in plan} | {"multiple": graph.multiple}
    if to == "onnx":
        data, made_with = onnx_program.onnx_program(graph, about), {"torch": str(torch.__version__)}
    else:
        data, made_with = aoti.compile_program(graph), aoti.describe_machine()
    program = describe_program(
        *(network, data),
        engine="onnxruntime" if to == "onnx" else "aoti",
        file=onnx_program.FILE if to == "onnx" else aoti.FILE,
        made_with=made_with,
        multiple=graph.multiple,
    )
    engine = onnx_runtime.OnnxRuntime() if to == "onnx" else aoti.Aoti()
    return program, data, compare_networks(network, engine.open(data, program), graph)


def make_card(name: str, plan: Mapping[str, Any], program: Program, parameters: int, difference: Difference) -> str:
    """README.md of the folder: what the program knows."""
    model = plan["components"].get("model", {})
    kind, owner, version = (remove_markup(model.get(key, "unknown")) for key in ("name", "distribution", "version"))
    slope, offset = (plan.get("calibration", {}).get(key, default) for key, default in (("slope", 1.0), ("offset", 0.0)))
    runs = (
        "Machine code: opening it runs it. For the torch and the processor that network.json names, and no other."
        if program.engine == "aoti"
        else "Data: a graph of known operations, with its weights, in one file."
    )
    return format_card(
        name,
        f"A network that maps forest canopy gaps from a digital surface model (DSM), exported with forestgaps. {runs}",
        {
            "network": f"`{kind}` of {owner} {version}, {parameters:,} parameters",
            "`dsm`": f"(B, 1, H, W) float32, meters, pixels of {plan['resolution_m']:g} m; the median where there is no data",
            "`valid`": "(B, 1, H, W) bool, False where there is no data",
            "`thresholds`": f"(B, K) float32, meters, ascending; validated at {format_levels(plan)} m",
            "`logits`": f"(B, K, H, W) float32; a gap has the probability 1 / (1 + exp(-({slope:.6g} * logit + {offset:.6g})))",
            "sizes": f"B and K any; H and W multiples of {program.multiple}",
            "probabilities differ from those of torch by": describe_difference(difference),
        },
        options=("--engine", program.engine),
    )
