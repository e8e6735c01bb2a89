"""What exporters share: reading the trained network, and writing its program into a model folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen
from attrs.validators import and_, in_, instance_of, matches_re, not_
from torch import nn

from forestgaps_core.components import Program
from forestgaps_core.config.converter import unstructure
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.engines import is_exported, record_engine
from forestgaps_core.inference.input_layers import require_no_layers
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


@frozen(kw_only=True, eq=False)
class Export:
    """What an exporter returns.

    Attributes:
        data: Content of the file.
        file: Its name in the folder.
        opening: What opening the file does, for the model card: a sentence such as "Data: opening it runs nothing."
        engine: What runs it in forestgaps; '' for other programs, and then no `network.json` is written.
        multiple: Rows and columns of its input are multiples of this.
        made_with: What its engine must know of this machine, such as versions.
        facts: Rows of the model card.
        figures: What `--json` prints of it.
        notes: Sentences that the command prints.
    """

    data: bytes = field(validator=instance_of(bytes), repr=False)
    file: str = field(validator=and_(matches_re(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"), not_(in_((PLAN, CARD)))))
    opening: str
    engine: str = ""
    multiple: int = 1
    made_with: Mapping[str, str] = field(factory=dict)
    facts: Mapping[str, str] = field(factory=dict)
    figures: Mapping[str, Any] = field(factory=dict)
    notes: tuple[str, ...] = ()


class Exporter(Protocol):
    """Turns a trained network into the content of a file: what `build` of a component of the kind `exporter` returns."""

    def __call__(self, network: nn.Module, source: ExportSource) -> Export:
        """Return the file. An error leaves nothing on disk.

        Args:
            network: With its weights, on the CPU, in evaluation mode. Copy it before you change it.
            source: Plan (resolution, thresholds, calibration) and training state of the network.
        """


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
    require_no_layers(state["about"], path)
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
