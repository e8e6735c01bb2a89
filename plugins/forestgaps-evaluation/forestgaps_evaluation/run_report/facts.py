"""Facts in a report on a run: its network, configuration, components and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forestgaps_core.files.safe_opening import read_json, read_text
from forestgaps_core.inference.model_folder import WEIGHTS, load_trained_network
from forestgaps_core.inference.model_lookup import RUN_FILE
from forestgaps_evaluation.counting.network import TrainedNetwork
from forestgaps_evaluation.counting.tile_counts import PROTOCOL_THRESHOLDS_M
from forestgaps_evaluation.pages.rendering import (
    TableRow,
)
from forestgaps_evaluation.protocol.evaluation import Evaluation, ThresholdScores
from forestgaps_evaluation.run_report.stac_item import NetworkFacts


def choose_thresholds(trained: Sequence[float]) -> tuple[float, ...]:
    """Return the thresholds of the protocol within the range of training, or the training thresholds if no other is in it."""
    return tuple(level for level in PROTOCOL_THRESHOLDS_M if trained[0] <= level <= trained[-1]) or tuple(trained)


def describe_network(trained: TrainedNetwork) -> NetworkFacts:
    path = trained.checkpoint
    return NetworkFacts(
        name=name_run(Path(trained.run)),
        weights=path / WEIGHTS if path.is_dir() else path,
        about=load_trained_network(path)[1]["about"],
        parameters=sum(parameter.numel() for parameter in trained.predictor.model.parameters()),
        thresholds=trained.predictor.thresholds,
        resolution_m=trained.predictor.resolution_m,
    )


def name_run(run: Path) -> str:
    """Return the name of a run folder, of a model folder, or of the run of a checkpoint."""
    path = run.resolve()
    if path.is_file():
        return path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
    return path.name


def list_stac_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Return the mean IoU at each evaluated threshold, as a property of the STAC item."""
    rows = [row for row in evaluation.rows if row.by == "all" and row.evaluated]
    return {
        f"forestgaps:{evaluation.split}_mean_iou": {f"{row.threshold:g}": round(row.scores["mean_iou"].mean, 4) for row in rows}
    }


def choose_main_threshold(rows: Sequence[ThresholdScores]) -> float:
    """Return the evaluated threshold nearest to 5 m; figures of a single threshold show it."""
    evaluated = [row for row in rows if row.evaluated] or list(rows)
    return min(evaluated, key=lambda row: abs(row.threshold - 5)).threshold


def read_epoch(checkpoint: Path) -> int | None:
    """Return the number of epochs completed when the checkpoint was written; None if it is not recorded."""
    epoch = load_trained_network(checkpoint)[1].get("position", {}).get("epoch")
    return epoch if isinstance(epoch, int) else None


def read_config_text(trained: TrainedNetwork, network: NetworkFacts) -> str:
    """Return the run file of the folder, or else the configuration recorded with the weights."""
    import tomli_w

    path = Path(trained.run) / RUN_FILE
    return read_text(path) if path.is_file() else tomli_w.dumps(network.about["config"])


def list_components(about: Mapping[str, Any]) -> list[TableRow]:
    return [
        TableRow(table, [str(component["name"]), f"{component['distribution']} {component['version']}"])
        for table, component in about["components"].items()
    ]


def list_settings(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the settings of a table of a run file; those of inner tables have dotted names."""
    lines: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += list_settings(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return lines


def read_versions(trained: TrainedNetwork, network: NetworkFacts) -> dict[str, str]:
    try:
        found = read_json(Path(trained.run) / "versions.json")
        return {str(name): str(number) for name, number in found.items()}
    except (OSError, ValueError, AttributeError):
        return {str(name): str(number) for name, number in network.about["versions"].items()}
