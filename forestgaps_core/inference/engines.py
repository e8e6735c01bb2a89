"""Networks exported for other engines than torch: a model folder with a program in place of weights.

    model.onnx, model.pt2   the program, or another name that its engine chooses
    network.json            resolution, thresholds, calibration, what the program needs, and its checksum
    README.md               what it is, for people

Which engines there are, plugins say (the hook `forestgaps_engines`). Where a program is data, its folder is opened like any
other network. Where it is compiled code, opening it runs whatever its maker put there, so the user must name the engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError, DataError
from forestgaps_core.files.safe_opening import MAX_WEIGHTS_BYTES, read_bytes
from forestgaps_core.inference.model_folder import PLAN, PROGRAM, compute_sha256, is_model_folder, read_plan, structure_recorded
from forestgaps_core.plugins.provenance import read_owners, read_versions, warn_of_other_versions
from forestgaps_core.plugins.registry import Plugins

FORMATS = {"onnxruntime": "onnx", "aoti": "pt2"}  # what `forestgaps export --to` calls the programs of each engine
TORCH = "torch"  # the name of no engine: weights and the network's own code


class ExportedNetwork(nn.Module):
    """What an engine's modules have in common; a subclass gives `answer`.

    Args:
        data: The program. It is kept, so that the module can be pickled and opened elsewhere.
    """

    def __init__(self, data: bytes, program: Program) -> None:
        super().__init__()
        self.data, self.program = data, program
        self.monotone, self.context_m = program.monotone, program.context_m

    def answer(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        """Logits (B, K, H, W) of contiguous tensors on the CPU."""
        raise NotImplementedError

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        multiple = self.program.multiple
        if any(size % multiple for size in dsm.shape[-2:]):
            raise DataError(
                f"a tile of {dsm.shape[-2]} x {dsm.shape[-1]} pixels, and the network was exported for multiples of {multiple}; "
                "give it wider tiles, without data at their margin, or use the network it was exported from"
            )
        return self.answer(dsm.contiguous(), valid.contiguous(), thresholds.contiguous())

    def extra_repr(self) -> str:
        """What tells it from any other network; resumed maps rely on it."""
        return f"engine={self.program.engine}, sha256={self.program.sha256}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.program)


def record_engine(name: str, distribution: str, plugins: Plugins) -> dict[str, str]:
    """Return what a model folder records of its engine, beside its other components: the package decides which engine opens it."""
    offers = plugins.offers("engine").get(name, ())
    version = next((offer.plugin.version for offer in offers if offer.plugin.distribution == distribution), "unknown")
    return {"name": name, "distribution": distribution, "version": version}


def is_exported(path: Path) -> bool:
    """Whether a model folder holds a program instead of weights."""
    return is_model_folder(path) and PROGRAM in read_plan(path)


def open_exported_network(folder: Path, engine: str | None, plugins: Plugins) -> tuple[nn.Module, dict[str, Any]]:
    """The module of an exported network, and its plan.

    Args:
        engine: As the user named it; None for the one the folder names, if its programs are data.

    Raises:
        CheckpointError: Damaged, of another engine, or code that the user must ask for by its engine's name.
        PluginError: The engine is not installed.
    """
    plan = read_plan(folder)
    program = structure_recorded(plan[PROGRAM], Program, PROGRAM, folder / PLAN)
    if engine is not None and engine.rpartition(":")[2] != program.engine:
        raise CheckpointError(f"{folder} was exported for the engine {program.engine}, found --engine {engine}")
    owner = read_owners(plan).get("engine")
    recorded = f"{owner}:{program.engine}" if owner and owner != "unknown" else program.engine
    runs = plugins.engine(engine if engine is not None and ":" in engine else recorded)
    warn_of_other_versions(folder, read_versions(plan, ["engine"]), plugins, "running it")
    if engine is None and not runs.data_only:
        raise CheckpointError(
            f"{folder / program.file} is compiled code, which can do whatever its maker wanted; if you trust where it comes from, "
            f"say --engine {program.engine}"
        )
    path = folder / program.file
    try:
        data = read_bytes(path, MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; the network is incomplete") from error
    if compute_sha256(data) != program.sha256:
        raise CheckpointError(f"{path} does not have the checksum that {PLAN} names: it is damaged, or belongs to another network")
    return runs.open(data, program), plan
