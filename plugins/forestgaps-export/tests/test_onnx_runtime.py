from __future__ import annotations

import pytest
import torch

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.model_folder import compute_sha256
from forestgaps_export.corrections import correct_graph
from forestgaps_export.onnx_runtime import OnnxRuntime


def program(data: bytes) -> Program:
    return Program(engine="onnxruntime", file="model.onnx", sha256=compute_sha256(data), bytes=max(len(data), 1))


def one_operation(kind: str, size: tuple[int, ...], **attributes: object) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(size)) for name in "xy")
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"], **attributes)], "one", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def answer(model: onnx.ModelProto, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def test_sigmoids_keep_their_relative_precision_at_both_ends() -> None:
    x = torch.linspace(-80, 80, 4001)
    model = one_operation("Sigmoid", (1,))
    assert correct_graph(model) == 1
    torch.testing.assert_close(answer(model, x), x.sigmoid(), rtol=2e-6, atol=0)


def test_a_maximum_of_nothing_but_minus_infinity_is_minus_infinity() -> None:
    x = torch.full((1, 1, 4, 4), -torch.inf)
    x[..., 2:, 2:] = 7.0
    model = one_operation("MaxPool", (1, 1, 4, 4), kernel_shape=[2, 2], strides=[2, 2])
    correct_graph(model)
    assert torch.equal(answer(model, x), torch.nn.functional.max_pool2d(x, 2))


@pytest.mark.parametrize("inside", [False, True], ids=["initializer", "attribute of a node"])
def test_weights_in_another_file_are_refused_before_any_is_opened(inside: bool) -> None:
    model = one_operation("Relu", (1,))
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "stolen")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    if inside:
        model.graph.node.append(helper.make_node("Constant", [], ["z"], value=tensor))
    else:
        model.graph.initializer.append(tensor)
    data = model.SerializeToString()
    with pytest.raises(CheckpointError, match="the weights 'stolen' of the network are in another file"):
        OnnxRuntime().open(data, program(data))


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x08\x09"])
def test_what_is_no_onnx_is_told(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"damaged or no ONNX|cannot run"):
        OnnxRuntime().open(data, program(data))
