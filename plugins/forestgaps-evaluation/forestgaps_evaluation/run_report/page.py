"""The page about a trained network on one split of its data, for a reader who never saw the code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import frozen

from forestgaps_core.components import Tiles
from forestgaps_core.files.bounded_reading import read_json, read_text
from forestgaps_core.files.drafts import new_results
from forestgaps_core.inference.model_folder import WEIGHTS, load_trained_network
from forestgaps_core.inference.model_lookup import RUN_FILE
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.network import TrainedNetwork, note_pixel_sizes, open_network
from forestgaps_evaluation.counting.size_recorder import SizeRecorder
from forestgaps_evaluation.counting.tile_counts import PROTOCOL_THRESHOLDS_M, TileCounts, count_split
from forestgaps_evaluation.pages.glossary import RUN_WORDS
from forestgaps_evaluation.pages.pictures import make_agreement_legend, make_threshold_legend
from forestgaps_evaluation.pages.rendering import (
    NARROW_SPACE,
    TableRow,
    format_counted,
    format_hectares,
    format_meters,
    format_number,
    format_percent,
    format_score,
    format_square_meters,
    render_page,
)
from forestgaps_evaluation.protocol.evaluation import AverageScores, Evaluation, ThresholdScores, evaluate_counts
from forestgaps_evaluation.run_report import figures
from forestgaps_evaluation.run_report.examples import make_examples
from forestgaps_evaluation.run_report.stac_item import NetworkFacts, format_json, make_stac_item
from forestgaps_evaluation.run_report.statements import compute_mapped_fractions, write_statements
from forestgaps_evaluation.run_report.training_log import make_training_charts, read_training_log

STAC_FILE = "model.stac.json"


@frozen(kw_only=True)
class Report:
    """What was written, and what it says."""

    page: Path
    card: Path
    tile_counts: TileCounts
    evaluation: Evaluation


def write_run_report(
    run: Path | str,
    out: Path,
    *,
    split: str = "test",
    thresholds: Sequence[float] = (),
    checkpoint: str | None = None,
    data: Path | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    notes: str = "",
    plugins: Plugins | None = None,
    progress: Callable[[Iterable[Tiles]], Iterable[Tiles]] = iter,
) -> Report:
    """Judge a run on a split and write the page, and beside it the STAC item of its network.

    Args:
        run: What `load_predictor` takes: a run folder, a checkpoint file, a network folder or the name of an installed network.
        out: The page, a new file.
        thresholds: Meters; without any, those of the protocol that the network was trained for.
        data: A run file or run folder whose data take the place of the run's own; `changes` are of the data.
        notes: License, credit, whatever a reader should know of the data.

    Raises:
        DataError: A file to write is there already, or the split is empty.
        CheckpointError: No trained network there.
    """
    beside = out.parent / STAC_FILE
    with new_results(out, beside, purpose="report") as drafts:
        trained = open_network(run, device=device, checkpoint=checkpoint, data=data, changes=changes, plugins=plugins)
        watched = SizeRecorder.of(trained)
        tile_counts = count_split(watched, split, thresholds or choose_thresholds(trained.predictor.thresholds), progress=progress)
        evaluation = evaluate_counts([tile_counts], notes=note_pixel_sizes([trained]))
        network = describe_network(trained)
        html = render_page(
            "run.html", fill_template(trained, tile_counts, evaluation, watched.sizes(tile_counts.resolution_m), network, notes)
        )
        item = make_stac_item(network, beside.parent, scores=list_stac_scores(evaluation), notes=notes)
        for draft, text in zip(drafts, (html, format_json(item)), strict=True):
            draft.write_text(text, encoding="utf-8")
    return Report(page=out, card=beside, tile_counts=tile_counts, evaluation=evaluation)


def choose_thresholds(trained: Sequence[float]) -> tuple[float, ...]:
    """Thresholds of the protocol between the lowest and the highest the network was trained for; its own, if there is none."""
    return tuple(level for level in PROTOCOL_THRESHOLDS_M if trained[0] <= level <= trained[-1]) or tuple(trained)


def describe_network(trained: TrainedNetwork) -> NetworkFacts:
    place = trained.checkpoint
    return NetworkFacts(
        name=name_run(Path(trained.run)),
        weights=place / WEIGHTS if place.is_dir() else place,
        about=load_trained_network(place)[1]["about"],
        parameters=sum(parameter.numel() for parameter in trained.predictor.model.parameters()),
        thresholds=trained.predictor.thresholds,
        resolution_m=trained.predictor.resolution_m,
    )


def name_run(run: Path) -> str:
    """Of a run or network folder, or of a checkpoint's run."""
    place = run.resolve()
    return (
        place.parent.parent.name
        if place.is_file() and place.parent.name == "checkpoints"
        else place.stem
        if place.is_file()
        else place.name
    )


def list_stac_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Mean IoU by threshold, for the STAC item."""
    rows = [row for row in evaluation.rows if row.by == "all" and row.evaluated]
    return {
        f"forestgaps:{evaluation.split}_mean_iou": {f"{row.threshold:g}": round(row.scores["mean_iou"].mean, 4) for row in rows}
    }


# --- what the template says -----------------------------------------------------------------------------------------


def fill_template(
    trained: TrainedNetwork,
    tile_counts: TileCounts,
    evaluation: Evaluation,
    sizes: Sequence[tuple[GapSizes, GapSizes]],
    network: NetworkFacts,
    notes: str,
) -> Mapping[str, Any]:
    rows = [row for row in evaluation.rows if row.by == "all"]
    main = choose_main_threshold(rows)
    overall = evaluation.overall[0]
    log = read_training_log(Path(trained.run))
    area = float(tile_counts.valid_pixels.sum()) * tile_counts.resolution_m**2 / 1e4
    high, wide = tile_counts.cell_m
    return {
        "version": version("forestgaps-evaluation"),
        "made": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": network.name,
        "split": tile_counts.split,
        "tiles": len(tile_counts),
        "hectares": area,
        "main": main,
        "contents": list_sections(log is not None),
        "facts": list_facts(tile_counts, network, area, overall),
        "findings": write_statements(evaluation, tile_counts, main),
        "legend": make_threshold_legend(tile_counts.thresholds.tolist()),
        "agreement": make_agreement_legend(),
        "examples": make_examples(trained, tile_counts, main),
        "score_chart": figures.make_score_chart(rows),
        "share_chart": figures.make_fraction_chart(rows, compute_mapped_fractions(tile_counts)),
        "scores": make_score_table(rows, compute_mapped_fractions(tile_counts)),
        "blocks": rows[0].blocks,
        "resamples": evaluation.resamples,
        "confusion": make_confusion(tile_counts, rows),
        "precision": figures.make_precision_charts(tile_counts, rows),
        "cuts": figures.make_cut_charts(tile_counts, rows),
        "reliability": figures.make_reliability_charts(tile_counts, rows),
        "sizes": figures.make_size_charts(sizes, rows),
        "size_table": make_size_table(sizes, rows),
        "cells": figures.make_cell_charts(tile_counts, rows),
        "cell_count": figures.compute_cell_errors(tile_counts)[2],
        "cell_m": f"{wide:.0f} × {high:.0f}{NARROW_SPACE}m",
        "strata": [
            (title, make_stratum_table(evaluation, by))
            for by, title in (("slope", "By slope of the ground"), ("canopy cover", "By canopy cover"))
        ],
        "heights": evaluation.heights,
        "training": make_training_charts(log, read_epoch(trained.checkpoint)) if log else [],
        "config": read_config_text(trained, network),
        "checkpoint": str(network.weights),
        "lines": [
            format_command("evaluate", trained.run, *trained.options),
            format_command("predict", trained.run, "dsm.tif", "--out", "maps", "--report"),
        ],
        "components": list_components(network.about),
        "versions": read_versions(trained, network),
        "notes": notes,
        "data": list_settings(network.about["config"].get("data", {})),
        "card": STAC_FILE,
        "glossary": RUN_WORDS,
    }


def list_sections(logged: bool) -> list[tuple[str, str]]:
    listed = [
        ("findings", "In short"),
        ("maps", "Maps"),
        ("scores", "Scores"),
        ("curves", "Curves"),
        ("reliability", "Reliability"),
        ("sizes", "Gap sizes"),
        ("cells", "Gap fraction of cells"),
        ("places", "Kinds of place"),
        ("training", "Training"),
        ("made-of", "Configuration"),
        ("data", "Data and license"),
        ("glossary", "Glossary"),
    ]
    return [entry for entry in listed if logged or entry[0] != "training"]


def choose_main_threshold(rows: Sequence[ThresholdScores]) -> float:
    """The threshold shown where only one can be: of those evaluated, that nearest to 5 m."""
    evaluated = [row for row in rows if row.evaluated] or list(rows)
    return min(evaluated, key=lambda row: abs(row.threshold - 5)).threshold


def list_facts(tile_counts: TileCounts, network: NetworkFacts, area: float, overall: AverageScores) -> list[tuple[str, str]]:
    return [
        ("Mean IoU over the evaluated thresholds", format_score(overall.mean_iou.mean)),
        ("Baseline without skill", format_score(overall.baseline)),
        ("Evaluated on", f"{format_counted(len(tile_counts), f'{tile_counts.split} tile')}, {format_hectares(area)}"),
        ("Pixel size", format_meters(tile_counts.resolution_m)),
        ("Thresholds", ", ".join(f"{level:g}" for level in tile_counts.thresholds) + f"{NARROW_SPACE}m"),
        ("Network", f"{network.about['config']['model']['name'].rpartition(':')[2]}, {format_number(network.parameters)} weights"),
    ]


def format_interval(low: float, high: float) -> str:
    return f"{format_score(low)} to {format_score(high)}" if low == low and high == high else "–"


def make_score_table(rows: Sequence[ThresholdScores], mapped: Sequence[float]) -> list[TableRow]:
    return [
        TableRow(
            format_meters(row.threshold),
            [
                format_percent(row.gap_fraction),
                format_percent(fraction),
                format_score(row.scores["mean_iou"].mean),
                format_interval(row.scores["mean_iou"].low, row.scores["mean_iou"].high),
                format_score(row.baseline["mean_iou"]),
                format_score(row.scores["gap_iou"].mean),
                format_score(row.baseline["gap_iou"]),
                format_score(row.scores["canopy_iou"].mean),
                format_score(row.scores["gap_precision"].mean),
                format_score(row.scores["gap_recall"].mean),
                format_score(row.scores["gap_f1"].mean),
            ],
            aside=not row.evaluated or row.extrapolated,
        )
        for row, fraction in zip(rows, mapped, strict=True)
    ]


@frozen(kw_only=True)
class Confusion:
    """Fractions of all pixels at one threshold, 0 to 1. Gap is positive."""

    name: str
    true_positive: float
    false_negative: float
    false_positive: float
    true_negative: float


def make_confusion(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Confusion]:
    tables = []
    for row, counts in zip(rows, tile_counts.counts.sum(0), strict=True):
        tp, fp, fn, tn = (float(part) / max(float(counts.sum()), 1.0) for part in counts)
        name = format_meters(row.threshold)
        tables.append(Confusion(name=name, true_positive=tp, false_negative=fn, false_positive=fp, true_negative=tn))
    return tables


def make_size_table(sizes: Sequence[tuple[GapSizes, GapSizes]], rows: Sequence[ThresholdScores]) -> list[TableRow]:
    return [
        TableRow(
            format_meters(row.threshold),
            [
                format_number(len(mapped)),
                format_number(len(reference)),
                *(
                    format_square_meters(part)
                    for part in (mapped.median_m2, reference.median_m2, mapped.half_m2, reference.half_m2)
                ),
            ],
            aside=not row.evaluated,
        )
        for row, (mapped, reference) in zip(rows, sizes, strict=True)
    ]


def make_stratum_table(evaluation: Evaluation, by: str) -> list[TableRow]:
    """A row for each class: tiles, area fraction of gap at each evaluated threshold is left to `evaluate`; here the average."""
    tiles = {(row.by, row.label): (row.tiles, row.blocks) for row in evaluation.rows}
    return [
        TableRow(
            part.label.replace("-", "–"),
            [
                format_number(tiles[by, part.label][0]),
                ", ".join(f"{level:g}" for level in part.thresholds) or "none",
                format_score(part.mean_iou.mean),
                format_interval(part.mean_iou.low, part.mean_iou.high),
                format_score(part.baseline),
            ],
        )
        for part in evaluation.overall
        if part.by == by
    ]


def read_epoch(checkpoint: Path) -> int | None:
    """Epochs completed when the checkpoint was written, if it says."""
    epoch = load_trained_network(checkpoint)[1].get("position", {}).get("epoch")
    return epoch if isinstance(epoch, int) else None


def read_config_text(trained: TrainedNetwork, network: NetworkFacts) -> str:
    """The run file as it stands in the folder, or what the weights remember of it."""
    import tomli_w

    path = Path(trained.run) / RUN_FILE
    return read_text(path) if path.is_file() else tomli_w.dumps(network.about["config"])


def list_components(about: Mapping[str, Any]) -> list[TableRow]:
    return [
        TableRow(place, [str(made["name"]), f"{made['distribution']} {made['version']}"])
        for place, made in about["components"].items()
    ]


def list_settings(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A table of a run file line by line, tables in it by dotted names."""
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
