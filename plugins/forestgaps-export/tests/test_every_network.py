"""Every network that ships, traced and as ONNX and compiled: the same probabilities at sizes and thresholds it was not traced with.

Compiling all of them takes ten minutes; without FORESTGAPS_EXPORTS=all it is done for one that is small.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache

import pytest
import torch
from networks_of_tests import SMALL, network
from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.inference.model_folder import compute_sha256
from forestgaps_export import aoti
from forestgaps_export.tracing import TracedNetwork, make_inputs, trace_network

TOLERANCE = 1e-4  # of a probability, where there is data
ASKED = [(1, 64, 64, 1), (3, 96, 64, 5), (2, 64, 160, 2), (1, 160, 96, 9)]
EVERYTHING = os.environ.get("FORESTGAPS_EXPORTS") == "all"


@cache
def graph(name: str) -> TracedNetwork:
    return trace_network(network(name))


def program(name: str, engine: str, data: bytes, made_with: dict[str, str]) -> Program:
    return Program(
        engine=engine, file=name, sha256=compute_sha256(data), bytes=len(data), multiple=graph(name).multiple, made_with=made_with
    )


def largest_difference(name: str, exported: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
    original, worst = network(name), 0.0
    with torch.inference_mode():
        for samples, rows, columns, count in ASKED:
            asked = make_inputs(samples, rows, columns, count, seed=rows)
            expected, found = original(*asked), exported(*asked)
            assert found.shape == (samples, count, rows, columns)
            assert expected.std() > 1e-3, "logits that say nothing compare nothing"
            worst = max(worst, ((found.sigmoid() - expected.sigmoid()).abs() * asked[1]).max().item())
    return worst


# Tracing these takes 5 to 10 s each. The others lack attention and pooled pyramids only.
SLOW_TO_TRACE = ("attention_unet", "cbam_unet", "deeplab", "ground_unet", "plain_unet", "unet")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW_TO_TRACE else n for n in SMALL])
def test_traced(name: str) -> None:
    assert graph(name).multiple <= 64  # windows of `predict` are multiples of 64
    assert largest_difference(name, graph(name).graph.module()) <= TOLERANCE


# The network trained by default; converting takes 10 s each.
ONNX = [name if name == "height_unet" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]


@pytest.mark.parametrize("name", ONNX)
def test_as_onnx(name: str) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from forestgaps_export.onnx_program import onnx_program
    from forestgaps_export.onnx_runtime import OnnxRuntime

    data = onnx_program(graph(name), {})
    exported: nn.Module = OnnxRuntime().open(data, program(name, "onnxruntime", data, {}))
    assert largest_difference(name, exported) <= TOLERANCE


@pytest.mark.slow  # a minute of g++
@pytest.mark.compiler
@pytest.mark.parametrize("name", SMALL if EVERYTHING else ["plain_unet"])
def test_compiled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # torch's compiler adds to it
    data = aoti.compile_program(graph(name))
    exported = aoti.Aoti().open(data, program(name, "aoti", data, aoti.describe_machine()))
    assert largest_difference(name, exported) <= TOLERANCE
