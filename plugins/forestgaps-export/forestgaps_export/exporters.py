"""The exporters `onnx` and `pt2`: fold, trace, write, compare with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy

import torch
from attrs import frozen
from torch import nn

from forestgaps_core.components import Engine
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.exporting import Export, Exporter, ExportSource, describe_program
from forestgaps_export import aoti, onnx_program, onnx_runtime
from forestgaps_export.comparison import compare_networks, describe_difference
from forestgaps_export.tracing import TracedNetwork, trace_network


@frozen(kw_only=True)
class Onnx:
    """ONNX, for ONNX Runtime and other programs, on any machine."""

    def build(self) -> Exporter:
        return export_onnx


@frozen(kw_only=True)
class Pt2:
    """Machine code, compiled by torch (AOTInductor) for processors like this one."""

    def build(self) -> Exporter:
        return export_pt2


def export_onnx(network: nn.Module, source: ExportSource) -> Export:
    """Return the network as ONNX.

    Raises:
        CheckpointError: It cannot be exported, or its results differ too much from those of torch.
    """
    about = {key: source.plan[key] for key in ("resolution_m", "config", "calibration") if key in source.plan}
    return trace_and_compare(
        network,
        lambda graph: onnx_program.onnx_program(graph, about | {"multiple": graph.multiple}),
        file=onnx_program.FILE,
        engine_name="onnxruntime",
        engine=onnx_runtime.OnnxRuntime(),
        made_with={"torch": str(torch.__version__)},
        opening="Data: a graph of known operations, with its weights, in one file.",
    )


def export_pt2(network: nn.Module, source: ExportSource) -> Export:
    """Return the network as compiled code.

    Raises:
        CheckpointError: There is no compiler, it cannot be exported, or its results differ too much from those of torch.
    """
    aoti.refuse_without_compiler()  # first, because the other steps take about a minute
    return trace_and_compare(
        network,
        aoti.compile_program,
        file=aoti.FILE,
        engine_name="aoti",
        engine=aoti.Aoti(),
        made_with=aoti.describe_machine(),
        opening="Machine code: opening it runs it. For the torch and the processor that network.json names, and no other.",
    )


def trace_and_compare(
    network: nn.Module,
    write: Callable[[TracedNetwork], bytes],
    *,
    file: str,
    engine_name: str,
    engine: Engine,
    made_with: Mapping[str, str],
    opening: str,
) -> Export:
    folded = deepcopy(network)
    fold_batch_norms(folded)
    graph = trace_network(folded)
    data = write(graph)
    program = describe_program(network, data, engine=engine_name, file=file, made_with=made_with, multiple=graph.multiple)
    difference = compare_networks(network, engine.open(data, program), graph)
    words = describe_difference(difference)
    return Export(
        data=data,
        file=file,
        opening=opening,
        engine=engine_name,
        multiple=graph.multiple,
        made_with=made_with,
        facts={"probabilities differ from those of torch by": words},
        figures={"largest_difference": difference.largest, "difference_beyond_rounding": difference.beyond},
        notes=(f"probabilities differ from those of torch by {words}",),
    )
