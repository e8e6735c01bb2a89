"""A traced network as ONNX: data that many programs can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any

import torch

from forestgaps_core.errors import CheckpointError
from forestgaps_export.corrections import corrected
from forestgaps_export.tracing import Traced, first_line, quiet

FILE = "model.onnx"
INPUTS, OUTPUT = ("dsm", "valid", "thresholds"), "logits"


def onnx_program(traced: Traced, about: Mapping[str, Any]) -> bytes:
    """The graph, its weights, and `about` as JSON in the metadata `forestgaps`, in one file.

    Raises:
        CheckpointError: onnxscript is missing, or an operation has no counterpart in ONNX.
    """
    for needed in ("onnx", "onnxscript"):
        try:
            import_module(needed)
        except ImportError as error:
            raise CheckpointError(f'ONNX needs {needed}: pip install "forestgaps-export[onnx]" ({error})') from error
    try:
        with quiet():
            program = torch.onnx.export(
                traced.graph, (), dynamo=True, input_names=list(INPUTS), output_names=[OUTPUT], external_data=False, verbose=False
            )
    except Exception as error:  # of torch, onnxscript or onnx_ir, each with its own
        raise CheckpointError(
            f"no ONNX for this network: {first_line(error)}. Operations without a counterpart in ONNX must be replaced in the "
            "network; --to pt2 needs none"
        ) from error
    assert program is not None
    proto = program.model_proto
    corrected(proto)
    for key, value in (("forestgaps", json.dumps(about)), ("input", "dsm: metres; valid: where it has data; thresholds: metres")):
        proto.metadata_props.add(key=key, value=value)
    file = BytesIO(proto.SerializeToString())
    return file.getvalue()
