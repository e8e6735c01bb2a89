"""The engine `aoti`: networks compiled ahead of time by torch (AOTInductor), for processors like the one they were compiled on.

The file is a library of machine code in an archive. Opening it runs that code: only what one has made, or whose maker one trusts.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.engines import ExportedNetwork
from forestgaps_export.tracing import TracedNetwork, get_first_line, silence_logs

FILE = "model.pt2"
COMPILERS = ("g++", "clang++", "c++", "cl")
INSTRUCTIONS = ("amx", "avx", "fma", "asimd", "sve")  # beginnings of the words a compiled network may depend on


def compile_program(graph: TracedNetwork) -> bytes:
    """The graph, compiled for this processor, with the number of threads left open.

    Raises:
        CheckpointError: There is no C++ compiler, or the graph cannot be compiled.
    """
    refuse_without_compiler()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, FILE)
        try:
            with torch.no_grad(), silence_logs():
                torch._inductor.aoti_compile_and_package(
                    graph.graph, package_path=str(file), inductor_configs={"cpp.dynamic_threads": True}
                )
        except Exception as error:  # of the compiler it calls, too
            raise CheckpointError(
                f"the network cannot be compiled: {get_first_line(error)}; --to onnx needs no compiler"
            ) from error
        return file.read_bytes()


def refuse_without_compiler() -> None:
    """
    Raises:
        CheckpointError: There is no C++ compiler.
    """
    if not compiler():
        raise CheckpointError(
            f"--to pt2 needs a C++ compiler, and none of {', '.join(COMPILERS)} is on the path; install one (package g++ or "
            "build-essential), name it in the environment variable CXX, or choose --to onnx"
        )


def compiler() -> str | None:
    """Return the C++ compiler that torch would use."""
    named = os.environ.get("CXX")
    return next((found for name in ((named,) if named else COMPILERS) if (found := shutil.which(name))), None)


def describe_machine() -> dict[str, str]:
    """Return the requirements of a compiled network: exact torch version, operating system and processor instructions."""
    return {
        "torch": str(torch.__version__),
        "system": f"{platform.system()} {platform.machine()}",
        "instructions": " ".join(list_instructions()),
    }


def list_instructions() -> list[str]:
    """Return the vector instructions of this processor; if the system does not list them, the set that torch uses."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return [torch.backends.cpu.get_cpu_capability().lower()]
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return sorted(word for word in words if word.startswith(INSTRUCTIONS)) or [torch.backends.cpu.get_cpu_capability().lower()]


def refuse_other_machines(made_with: Mapping[str, str]) -> None:
    """
    Raises:
        CheckpointError: The network was compiled for another torch, system or processor.
    """
    here = describe_machine()
    for what in ("torch", "system"):
        if made_with.get(what) != here[what]:
            raise CheckpointError(
                f"the network was compiled for {what} {made_with.get(what, 'unknown')}, but this machine has {here[what]}. Export "
                "it again here, or to onnx, which runs on all machines"
            )
    missing = set(made_with.get("instructions", "unknown").split()) - set(here["instructions"].split())
    if missing:
        raise CheckpointError(
            f"the network was compiled for a processor with {', '.join(sorted(missing))}, which this processor does not have. "
            "Export it again here, or to onnx, which runs on all machines"
        )


class Aoti:
    """Opens compiled networks. They are code: opening a file runs it."""

    data_only = False

    def open(self, data: bytes, program: Program) -> nn.Module:
        refuse_other_machines(program.made_with)
        network = AotiNetwork(data, program)
        network.load_library()
        return network


class AotiNetwork(ExportedNetwork):
    """A compiled network. Each process loads it at the first call."""

    def __init__(self, data: bytes, program: Program) -> None:
        super().__init__(data, program)
        self.turn = threading.Lock()
        self.loaded: Callable[[Tensor, Tensor, Tensor], Any] | None = None

    def load_library(self) -> Callable[[Tensor, Tensor, Tensor], Any]:
        with self.turn:
            if self.loaded is None:
                refuse_other_machines(self.program.made_with)  # it may have been sent to another machine
                with tempfile.TemporaryDirectory() as folder:  # torch unpacks it to a folder of its own
                    file = Path(folder, FILE)
                    file.write_bytes(self.data)
                    try:
                        with silence_logs():
                            self.loaded = torch._inductor.aoti_load_package(str(file))
                    except Exception as error:  # the type of error depends on the damage
                        raise CheckpointError(f"{self.program.file} cannot be loaded: {get_first_line(error)}") from error
            return self.loaded

    def answer(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        logits: Tensor = self.load_library()(dsm.float(), valid, thresholds.float())
        return logits
