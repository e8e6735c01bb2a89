"""The network as TensorBoard's graph.

torch's own writer traces with `torch.jit.trace`, which is deprecated; this goes through `torch.export`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tensorboard.compat.proto import event_pb2, graph_pb2, node_def_pb2, versions_pb2
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, export

NO_LAYERS: Mapping[str, Tensor] = {}


def make_graph_event(network: nn.Module, inputs: tuple[Tensor, ...], layers: Mapping[str, Tensor] = NO_LAYERS) -> Any:
    """The network in the mode it is in, each operation under the modules it belongs to.

    Args:
        layers: Further layers that it is called with.
    """
    with torch.no_grad():
        program = export(network, inputs, {"layers": dict(layers)} if layers else None)
    graph = graph_pb2.GraphDef(node=iterate_nodes(program), versions=versions_pb2.VersionDef(producer=22))
    return event_pb2.Event(graph_def=graph.SerializeToString())


def iterate_nodes(program: ExportedProgram) -> Iterator[Any]:
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    names = {node: stored.get(node.name, "").replace(".", "/") or name_node(node) for node in program.graph.nodes}
    for node, name in names.items():
        made = node_def_pb2.NodeDef(
            name=name, op=name_operation(node, stored), input=[names[source] for source in node.all_input_nodes]
        )
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            sizes = made.attr["_output_shapes"].list.shape.add()
            for size in value.shape:
                sizes.dim.add(size=int(size))
        yield made


def name_node(node: fx.Node) -> str:
    """Its name below the path of the innermost module it runs in."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return "/".join([*(stack[-1].split(".") if stack and stack[-1] else []), node.name])


def name_operation(node: fx.Node, stored: dict[str, str]) -> str:
    if node.op == "placeholder":
        return "Stored" if node.name in stored else "Input"
    return str(node.target) if node.op == "call_function" else node.op
