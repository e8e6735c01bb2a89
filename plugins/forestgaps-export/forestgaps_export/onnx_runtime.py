"""The engine `onnxruntime`: ONNX networks on the CPU, by Microsoft's runtime."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.engines import ExportedNetwork

EXTERNAL = 1  # onnx.TensorProto.EXTERNAL


class OnnxRuntime:
    """Opens ONNX files. They are data: a graph of known operations, and weights."""

    data_only = True

    def open(self, data: bytes, program: Program) -> nn.Module:
        network = OnnxNetwork(data, program)
        network.session(torch.get_num_threads())
        return network


class OnnxNetwork(ExportedNetwork):
    """An ONNX network, with one session for each number of threads in use.

    Raises:
        CheckpointError: The data are not ONNX or refer to other files, or onnxruntime is not installed.
    """

    def __init__(self, data: bytes, program: Program) -> None:
        super().__init__(data, program)
        refuse_other_files(data)
        self.sessions: dict[int, Any] = {}
        self.turn = threading.Lock()

    def answer(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        session = self.session(torch.get_num_threads())
        given = {"dsm": dsm.float().numpy(), "valid": valid.numpy(), "thresholds": thresholds.float().numpy()}
        return torch.from_numpy(session.run(["logits"], given)[0])

    def session(self, threads: int) -> Any:
        with self.turn:
            if threads not in self.sessions:
                self.sessions[threads] = self.open_session(threads)
            return self.sessions[threads]

    def open_session(self, threads: int) -> Any:
        runtime = import_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; they are raised too
        # Waiting threads sleep, because other threads need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return runtime.InferenceSession(self.data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own, which share no class
            found = " ".join(str(error).split())[:300]
            raise CheckpointError(f"onnxruntime cannot run {self.program.file}: {found}") from error


def import_package(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise CheckpointError(f'the engine onnxruntime needs {module}: pip install "forestgaps-export[onnx]" ({error})') from error


def refuse_other_files(data: bytes) -> None:
    """ONNX may keep weights in other files, named by their paths; such a network could have any file read.

    Raises:
        CheckpointError: It names one, or is no ONNX.
    """
    onnx = import_package("onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own, which moved from module to module
        raise CheckpointError(f"the network is damaged or no ONNX: {error}") from error
    messages = [model]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto) and (message.data_location == EXTERNAL or message.external_data):
            raise CheckpointError(
                f"the weights {message.name!r} of the network are in another file, which is not allowed. Export it to a single file"
            )
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages.extend([value] if hasattr(value, "ListFields") else value)
