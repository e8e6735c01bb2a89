"""A traced network as ONNX: data that many programs can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any

import torch
from torch.fx import GraphModule

from forestgaps_core.errors import CheckpointError
from forestgaps_export.corrections import correct_graph
from forestgaps_export.tracing import TracedNetwork, get_first_line, silence_logs

FILE = "model.onnx"
INPUTS, OUTPUT = ("dsm", "valid", "thresholds"), "logits"


def onnx_program(graph: TracedNetwork, about: Mapping[str, Any]) -> bytes:
    """The graph, its weights, and `about` as JSON in the metadata `forestgaps`, in one file.

    Raises:
        CheckpointError: onnxscript is missing, or an operation has no counterpart in ONNX.
    """
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            raise CheckpointError(f'ONNX needs {package}: pip install "forestgaps-export[onnx]" ({error})') from error
    unify_clamp_bounds(graph)
    try:
        with silence_logs():
            program = torch.onnx.export(
                graph.graph, (), dynamo=True, input_names=list(INPUTS), output_names=[OUTPUT], external_data=False, verbose=False
            )
    except Exception as error:  # of torch, onnxscript or onnx_ir, each with its own
        raise CheckpointError(
            f"no ONNX for this network: {get_first_line(error)}. Operations without a counterpart in ONNX must be replaced in the "
            "network; --to pt2 needs none"
        ) from error
    assert program is not None
    proto = program.model_proto
    correct_graph(proto)
    for key, value in (("forestgaps", json.dumps(about)), ("input", "dsm: meters; valid: where it has data; thresholds: meters")):
        proto.metadata_props.add(key=key, value=value)
    file = BytesIO(proto.SerializeToString())
    return file.getvalue()


def unify_clamp_bounds(graph: TracedNetwork) -> None:
    """Write the whole bounds of clamps of floats as floats, in place: torch's exporter makes tensors of those, which clamps with
    another bound that is a number do not take.
    """
    graphs = [module for module in graph.graph.graph_module.modules() if isinstance(module, GraphModule)]  # also those within
    for node in (node for module in graphs for node in module.graph.nodes):
        if node.target is torch.ops.aten.clamp.default and node.args[0].meta["val"].is_floating_point():
            node.args = (node.args[0], *(float(bound) if isinstance(bound, int) else bound for bound in node.args[1:]))
            node.kwargs = {name: float(bound) if isinstance(bound, int) else bound for name, bound in node.kwargs.items()}
