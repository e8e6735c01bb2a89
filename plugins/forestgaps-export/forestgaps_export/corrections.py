"""Where ONNX Runtime answers otherwise than torch, and networks notice.

- *Maxima of nothing but minus infinity.* A pool over pixels without data has only -inf to choose from, and networks recognize it by
  that. The runtime's MaxPool begins from the lowest finite number and gives that, so after each the lowest becomes -inf again.
- *The ends of the sigmoid.* The runtime's is a rational function that is 0 below about -18, where torch still gives exp(x); the
  logarithm of a small probability would be -inf. So sigmoids are computed as 1 / (1 + exp(-x)), which is right at both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOWEST, MINUS_INFINITY, ONE = "forestgaps_lowest", "forestgaps_minus_infinity", "forestgaps_one"  # constants in the graph


def correct_graph(model: Any) -> int:
    """Change an `onnx.ModelProto` in place; returns how many operations were replaced."""
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    before = list(graph.node)
    after = [new for node in before for new in replace_node(node)]
    del graph.node[:]
    graph.node.extend(after)
    for name, value in ((LOWEST, np.finfo(np.float32).min), (MINUS_INFINITY, -np.inf), (ONE, 1.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return sum(node.op_type in ("MaxPool", "Sigmoid") for node in before)


def replace_node(node: Any) -> Iterator[Any]:
    """The nodes that compute what torch would."""
    from onnx import NodeProto, helper

    if node.op_type == "MaxPool":
        name = node.output[0]
        pool = NodeProto()
        pool.CopyFrom(node)
        pool.output[0] = f"{name}_finite"
        yield pool
        yield helper.make_node("LessOrEqual", [pool.output[0], LOWEST], [f"{name}_is_lowest"])
        yield helper.make_node("Where", [f"{name}_is_lowest", MINUS_INFINITY, pool.output[0]], [name])
    elif node.op_type == "Sigmoid":
        name = node.output[0]
        yield helper.make_node("Neg", [node.input[0]], [f"{name}_negative"])
        yield helper.make_node("Exp", [f"{name}_negative"], [f"{name}_exponential"])
        yield helper.make_node("Add", [f"{name}_exponential", ONE], [f"{name}_sum"])
        yield helper.make_node("Reciprocal", [f"{name}_sum"], [name])
    else:
        yield node
