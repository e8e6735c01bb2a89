"""What exporters share: reading the trained network, and writing its program into a model folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from torch import nn

from forestgaps_core.components import Program
from forestgaps_core.config.converter import unstructure
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.engines import is_exported, record_engine
from forestgaps_core.inference.model_folder import (
    CARD,
    FORMAT,
    PLAN,
    PROGRAM,
    compute_sha256,
    format_plan,
    load_trained_network,
    locate_network,
    make_plan,
    structure_recorded,
)
from forestgaps_core.plugins.registry import Plugins


@frozen(eq=False)
class ExportSource:
    """A trained network that is to be exported.

    Attributes:
        path: Its checkpoint or model folder.
        state: As in a checkpoint.
        plan: The plan of the new model folder, without its program.
        calibration: Of its logits, if it has one.
    """

    path: Path
    state: dict[str, Any]
    plan: dict[str, Any]
    calibration: Calibration | None


def load_export_source(run: Path | str, checkpoint: str | None, plugins: Plugins, *, channels_last: bool) -> ExportSource:
    """Load a trained network.

    Args:
        run: What `load_predictor` takes.
        checkpoint: Of a run; None for its best.
        plugins: Where its components are.
        channels_last: The memory layout in which its program computes.

    Raises:
        CheckpointError: There is no trained network, or it is exported already.
    """
    path = locate_network(run, plugins)
    if is_exported(path):
        raise CheckpointError(f"{path} is exported already; name the run it was exported from")
    path, state = load_trained_network(path, checkpoint, plugins)
    plan = {"format": FORMAT, **make_plan(state["about"], path)}
    plan["config"]["environment"] = {"precision": "32", "channels_last": channels_last}
    calibration = None
    if scale := state.get("calibration"):
        calibration = structure_recorded(scale, Calibration, "calibration", path)
        plan["calibration"] = unstructure(calibration)
    return ExportSource(path, state, plan, calibration)


def describe_program(
    network: nn.Module, data: bytes, *, engine: str, file: str, made_with: Mapping[str, str], multiple: int = 1
) -> Program:
    """Return what a model folder records of a program, with the properties of its network that matter to `Predictor`."""
    context_m = getattr(network, "context_m", None)
    return Program(
        engine=engine,
        file=file,
        sha256=compute_sha256(data),
        bytes=len(data),
        multiple=multiple,
        monotone=bool(getattr(network, "monotone", False)),
        context_m=None if context_m is None else float(context_m),
        made_with=made_with,
    )


def write_program(
    draft: Path,
    source: ExportSource,
    program: Program,
    data: bytes,
    *,
    distribution: str,
    plugins: Plugins,
    make_card: Callable[[Mapping[str, Any]], str],
) -> None:
    """Write the files of an exported network: its program, its plan, its card.

    Args:
        draft: The folder.
        source: The network it was made from.
        program: What its plan records.
        data: What its file contains.
        distribution: The package of its engine.
        plugins: Where that package is.
        make_card: Returns the text of README.md, from the plan.
    """
    engine = record_engine(program.engine, distribution, plugins)
    plan = {**source.plan, PROGRAM: unstructure(program), "components": {**source.plan["components"], "engine": engine}}
    (draft / program.file).write_bytes(data)
    (draft / PLAN).write_text(format_plan(plan, source.path), encoding="utf-8")
    (draft / CARD).write_text(make_card(plan), encoding="utf-8")
