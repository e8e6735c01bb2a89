"""Export a trained network to a folder: choose an exporter, call it, write what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from torch import nn

from forestgaps_core.components import Program
from forestgaps_core.config.command_components import choose_components
from forestgaps_core.contracts import NamedErrors
from forestgaps_core.errors import PluginError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.drafts import new_folder, refuse_taken
from forestgaps_core.inference.exporting import Export, ExportSource, describe_program, load_export_source, write_program
from forestgaps_core.inference.model_card import format_card, format_levels, remove_markup
from forestgaps_core.inference.model_folder import CARD, PLAN
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.registry import ComponentOffer, Plugins


@frozen
class Exported:
    """What the exporter returned, and its program as `network.json` describes it; None for other programs."""

    export: Export
    program: Program | None


def export_network(
    run: Path | str,
    folder: Path | str,
    to: str,
    settings: Iterable[str] = (),
    *,
    checkpoint: str | None = None,
    plugins: Plugins | None = None,
) -> Exported:
    """Write a trained network in another format into a new folder.

    Args:
        run: A run folder, checkpoint, model folder or name of an installed model, as for `load_predictor`.
        to: Name of an installed exporter, such as onnx.
        settings: Of the exporter, such as `onnx.key=value`.

    Raises:
        CheckpointError: `run` contains no network, or it cannot be exported.
        ConfigError: There is no such exporter, or its settings are wrong.
        DiskError: `folder` exists or cannot be written. In this case, nothing remains on disk.
    """
    plugins = plugins or Plugins.discover()
    (chosen,) = choose_components("exporter", [to], settings, plugins, command="export")
    exporter = chosen.build()
    source = load_export_source(run, checkpoint, plugins, channels_last=False)
    refuse_taken(Path(folder))  # before the minutes of the export
    network = build_network(source.state, plugins, source.path).eval()
    with NamedErrors(lambda: chosen.words):
        export = exporter(network, source)
    if not isinstance(export, Export):
        raise PluginError(f"{chosen.words} returned a {type(export).__name__}, expected an Export")
    with new_folder(Path(folder), contents=(export.file, PLAN, CARD)) as draft:
        program = write_export(draft, Path(folder).name, export, source, network, chosen.component, plugins)
    return Exported(export, program)


def write_export(
    draft: Path, name: str, export: Export, source: ExportSource, network: nn.Module, component: ComponentOffer, plugins: Plugins
) -> Program | None:
    """Write the files of a folder: a model folder if an engine runs the file, else the file and its card."""

    def make_card(plan: Mapping[str, Any]) -> str:
        return make_export_card(name, plan, export, parameters)

    parameters = sum(tensor.numel() for tensor in choose_weights(source.state).values() if tensor.is_floating_point())
    if not export.engine:
        (draft / export.file).write_bytes(export.data)
        (draft / CARD).write_text(make_card(source.plan), encoding="utf-8")
        return None
    program = describe_program(
        *(network, export.data), engine=export.engine, file=export.file, made_with=export.made_with, multiple=export.multiple
    )
    owners = [offer.plugin.distribution for offer in plugins.offers("engine").get(export.engine, ())]
    distribution = component.plugin.distribution
    if distribution not in owners and len(owners) == 1:
        (distribution,) = owners
    write_program(draft, source, program, export.data, distribution=distribution, plugins=plugins, make_card=make_card)
    return program


def make_export_card(name: str, plan: Mapping[str, Any], export: Export, parameters: int) -> str:
    """README.md of the folder: what the program knows."""
    model = plan["components"].get("model", {})
    kind, owner, version = (remove_markup(model.get(key, "unknown")) for key in ("name", "distribution", "version"))
    slope, offset = (plan.get("calibration", {}).get(key, default) for key, default in (("slope", 1.0), ("offset", 0.0)))
    return format_card(
        name,
        f"A network that maps forest canopy gaps from a digital surface model (DSM), exported with forestgaps. {export.opening}",
        {
            "network": f"`{kind}` of {owner} {version}, {parameters:,} parameters",
            "`dsm`": f"(B, 1, H, W) float32, meters, pixels of {plan['resolution_m']:g} m; the median where there is no data",
            "`valid`": "(B, 1, H, W) bool, False where there is no data",
            "`thresholds`": f"(B, K) float32, meters, ascending; validated at {format_levels(plan)} m",
            "`logits`": f"(B, K, H, W) float32; a gap has the probability 1 / (1 + exp(-({slope:.6g} * logit + {offset:.6g})))",
            "sizes": f"B and K any; H and W multiples of {export.multiple}",
            **export.facts,
        },
        options=("--engine", export.engine),
        maps=bool(export.engine),
    )
