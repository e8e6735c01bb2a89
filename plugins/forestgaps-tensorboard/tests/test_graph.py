from __future__ import annotations

import torch
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import Tensor, nn

from forestgaps_tensorboard.graph import make_graph_event


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return self.body(dsm) * valid + thresholds[:, :, None, None]


def test_operations_stand_under_their_modules_with_inputs_and_shapes() -> None:
    inputs = (torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool), torch.tensor([[2.0, 5.0]]))
    graph = GraphDef.FromString(make_graph_event(Small().eval(), inputs).graph_def)
    nodes = {node.name: node for node in graph.node}
    convolution = nodes["body/0/conv2d"]
    assert list(convolution.input) == ["dsm", "body/0/weight", "body/0/bias"]
    assert [dim.size for dim in convolution.attr["_output_shapes"].list.shape[0].dim] == [1, 2, 8, 8]
    assert nodes["dsm"].op == "Input"
    assert nodes["body/1/running_mean"].op == "Stored"
    assert len(nodes) == len(graph.node), "names are unique"
    assert all(source in nodes for node in graph.node for source in node.input)
