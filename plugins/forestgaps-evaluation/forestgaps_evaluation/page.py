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
from forestgaps_core.inference.model_folder import WEIGHTS, trained_network
from forestgaps_core.inference.model_lookup import RUN_FILE
from forestgaps_core.plugins.command_lines import command_line
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation import figures
from forestgaps_evaluation.card import Network, card, text_of
from forestgaps_evaluation.evaluation import Evaluation, Overall, Row, evaluated
from forestgaps_evaluation.examples import examples
from forestgaps_evaluation.findings import findings, mapped_shares
from forestgaps_evaluation.glossary import RUN_WORDS
from forestgaps_evaluation.maps import agreement_legend, threshold_legend
from forestgaps_evaluation.rendering import (
    SPACE,
    Line,
    count,
    hectares,
    meters,
    number_of,
    percent,
    rendered,
    score,
    square_meters,
)
from forestgaps_evaluation.sizes import Sizes
from forestgaps_evaluation.tallies import PROTOCOL, Tallies, counted
from forestgaps_evaluation.trained import Trained, opened, pixel_notes
from forestgaps_evaluation.training_log import training_charts, training_log
from forestgaps_evaluation.watching import Watched

CARD = "model.stac.json"


@frozen(kw_only=True)
class Report:
    """What was written, and what it says."""

    page: Path
    card: Path
    tallies: Tallies
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
        notes: Licence, credit, whatever a reader should know of the data.

    Raises:
        DataError: A file to write is there already, or the split is empty.
        CheckpointError: No trained network there.
    """
    beside = out.parent / CARD
    with new_results(out, beside, purpose="report") as drafts:
        trained = opened(run, device=device, checkpoint=checkpoint, data=data, changes=changes, plugins=plugins)
        watched = Watched.of(trained)
        tallies = counted(watched, split, thresholds or usual(trained.predictor.thresholds), progress=progress)
        evaluation = evaluated([tallies], notes=pixel_notes([trained]))
        network = network_of(trained)
        html = rendered("run.html", page(trained, tallies, evaluation, watched.sizes(tallies.resolution_m), network, notes))
        item = card(network, beside.parent, scores=card_scores(evaluation), notes=notes)
        for draft, text in zip(drafts, (html, text_of(item)), strict=True):
            draft.write_text(text, encoding="utf-8")
    return Report(page=out, card=beside, tallies=tallies, evaluation=evaluation)


def usual(trained: Sequence[float]) -> tuple[float, ...]:
    """Thresholds of the protocol between the lowest and the highest the network was trained for; its own, if there is none."""
    return tuple(level for level in PROTOCOL if trained[0] <= level <= trained[-1]) or tuple(trained)


def network_of(trained: Trained) -> Network:
    place = trained.checkpoint
    return Network(
        name=name_of(Path(trained.run)),
        weights=place / WEIGHTS if place.is_dir() else place,
        about=trained_network(place)[1]["about"],
        parameters=sum(parameter.numel() for parameter in trained.predictor.model.parameters()),
        thresholds=trained.predictor.thresholds,
        resolution_m=trained.predictor.resolution_m,
    )


def name_of(run: Path) -> str:
    """Of a run or network folder, or of a checkpoint's run."""
    place = run.resolve()
    return (
        place.parent.parent.name
        if place.is_file() and place.parent.name == "checkpoints"
        else place.stem
        if place.is_file()
        else place.name
    )


def card_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Mean IoU by threshold, for the STAC item."""
    rows = [row for row in evaluation.rows if row.by == "all" and row.judged]
    return {
        f"forestgaps:{evaluation.split}_mean_iou": {f"{row.threshold:g}": round(row.scores["mean_iou"].mean, 4) for row in rows}
    }


# --- what the template says -----------------------------------------------------------------------------------------


def page(
    trained: Trained, tallies: Tallies, evaluation: Evaluation, sizes: Sequence[tuple[Sizes, Sizes]], network: Network, notes: str
) -> Mapping[str, Any]:
    rows = [row for row in evaluation.rows if row.by == "all"]
    main = main_threshold(rows)
    overall = evaluation.overall[0]
    log = training_log(Path(trained.run))
    area = float(tallies.valid_pixels.sum()) * tallies.resolution_m**2 / 1e4
    high, wide = tallies.cell_m
    return {
        "version": version("forestgaps-evaluation"),
        "made": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": network.name,
        "split": tallies.split,
        "tiles": len(tallies),
        "hectares": area,
        "main": main,
        "contents": contents(log is not None),
        "facts": facts(tallies, network, area, overall),
        "findings": findings(evaluation, tallies, main),
        "legend": threshold_legend(tallies.thresholds.tolist()),
        "agreement": agreement_legend(),
        "examples": examples(trained, tallies, main),
        "score_chart": figures.score_chart(rows),
        "share_chart": figures.share_chart(rows, mapped_shares(tallies)),
        "scores": score_table(rows, mapped_shares(tallies)),
        "blocks": rows[0].blocks,
        "resamples": evaluation.resamples,
        "confusion": confusion(tallies, rows),
        "precision": figures.precision_charts(tallies, rows),
        "cuts": figures.cut_charts(tallies, rows),
        "reliability": figures.reliability_charts(tallies, rows),
        "sizes": figures.size_charts(sizes, rows),
        "size_table": size_table(sizes, rows),
        "cells": figures.cell_charts(tallies, rows),
        "cell_count": figures.cell_errors(tallies)[2],
        "cell_m": f"{wide:.0f} × {high:.0f}{SPACE}m",
        "strata": [
            (title, stratum_table(evaluation, by))
            for by, title in (("slope", "By slope of the ground"), ("canopy cover", "By canopy cover"))
        ],
        "heights": evaluation.heights,
        "training": training_charts(log, epoch_of(trained.checkpoint)) if log else [],
        "config": config_text(trained, network),
        "checkpoint": str(network.weights),
        "lines": [
            command_line("evaluate", trained.run, *trained.options),
            command_line("predict", trained.run, "dsm.tif", "--out", "maps", "--report"),
        ],
        "components": components(network.about),
        "versions": versions(trained, network),
        "notes": notes,
        "data": settings(network.about["config"].get("data", {})),
        "card": CARD,
        "glossary": RUN_WORDS,
    }


def contents(logged: bool) -> list[tuple[str, str]]:
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
        ("data", "Data and licence"),
        ("glossary", "Glossary"),
    ]
    return [entry for entry in listed if logged or entry[0] != "training"]


def main_threshold(rows: Sequence[Row]) -> float:
    """The threshold shown where only one can be: of those judged, that nearest to 5 m."""
    fair = [row for row in rows if row.judged] or list(rows)
    return min(fair, key=lambda row: abs(row.threshold - 5)).threshold


def facts(tallies: Tallies, network: Network, area: float, overall: Overall) -> list[tuple[str, str]]:
    return [
        ("Mean IoU over the evaluated thresholds", score(overall.mean_iou.mean)),
        ("Baseline without skill", score(overall.trivial)),
        ("Evaluated on", f"{number_of(len(tallies), f'{tallies.split} tile')}, {hectares(area)}"),
        ("Pixel size", meters(tallies.resolution_m)),
        ("Thresholds", ", ".join(f"{level:g}" for level in tallies.thresholds) + f"{SPACE}m"),
        ("Network", f"{network.about['config']['model']['name'].rpartition(':')[2]}, {count(network.parameters)} weights"),
    ]


def interval(low: float, high: float) -> str:
    return f"{score(low)} to {score(high)}" if low == low and high == high else "–"


def score_table(rows: Sequence[Row], mapped: Sequence[float]) -> list[Line]:
    return [
        Line(
            meters(row.threshold),
            [
                percent(row.gap_fraction),
                percent(share),
                score(row.scores["mean_iou"].mean),
                interval(row.scores["mean_iou"].low, row.scores["mean_iou"].high),
                score(row.trivial["mean_iou"]),
                score(row.scores["gap_iou"].mean),
                score(row.trivial["gap_iou"]),
                score(row.scores["canopy_iou"].mean),
                score(row.scores["gap_precision"].mean),
                score(row.scores["gap_recall"].mean),
                score(row.scores["gap_f1"].mean),
            ],
            aside=not row.judged or row.outside,
        )
        for row, share in zip(rows, mapped, strict=True)
    ]


@frozen(kw_only=True)
class Confusion:
    """Shares of all pixels at one threshold, 0 to 1: both gap, missed, invented, both canopy."""

    name: str
    hit: float
    missed: float
    invented: float
    canopy: float


def confusion(tallies: Tallies, rows: Sequence[Row]) -> list[Confusion]:
    found = []
    for row, counts in zip(rows, tallies.counts.sum(0), strict=True):
        tp, fp, fn, tn = (float(part) / max(float(counts.sum()), 1.0) for part in counts)
        found.append(Confusion(name=meters(row.threshold), hit=tp, missed=fn, invented=fp, canopy=tn))
    return found


def size_table(sizes: Sequence[tuple[Sizes, Sizes]], rows: Sequence[Row]) -> list[Line]:
    return [
        Line(
            meters(row.threshold),
            [
                count(len(mapped)),
                count(len(reference)),
                *(square_meters(part) for part in (mapped.median_m2, reference.median_m2, mapped.half_m2, reference.half_m2)),
            ],
            aside=not row.judged,
        )
        for row, (mapped, reference) in zip(rows, sizes, strict=True)
    ]


def stratum_table(evaluation: Evaluation, by: str) -> list[Line]:
    """A row for each class: tiles, area share of gap at each judged threshold is left to `evaluate`; here the average."""
    tiles = {(row.by, row.label): (row.tiles, row.blocks) for row in evaluation.rows}
    return [
        Line(
            part.label.replace("-", "–"),
            [
                count(tiles[by, part.label][0]),
                ", ".join(f"{level:g}" for level in part.thresholds) or "none",
                score(part.mean_iou.mean),
                interval(part.mean_iou.low, part.mean_iou.high),
                score(part.trivial),
            ],
        )
        for part in evaluation.overall
        if part.by == by
    ]


def epoch_of(checkpoint: Path) -> int | None:
    """Epochs completed when the checkpoint was written, if it says."""
    epoch = trained_network(checkpoint)[1].get("position", {}).get("epoch")
    return epoch if isinstance(epoch, int) else None


def config_text(trained: Trained, network: Network) -> str:
    """The run file as it stands in the folder, or what the weights remember of it."""
    import tomli_w

    path = Path(trained.run) / RUN_FILE
    return read_text(path) if path.is_file() else tomli_w.dumps(network.about["config"])


def components(about: Mapping[str, Any]) -> list[Line]:
    return [
        Line(place, [str(made["name"]), f"{made['distribution']} {made['version']}"]) for place, made in about["components"].items()
    ]


def settings(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A table of a run file line by line, tables in it by dotted names."""
    lines: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += settings(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return lines


def versions(trained: Trained, network: Network) -> dict[str, str]:
    try:
        found = read_json(Path(trained.run) / "versions.json")
        return {str(name): str(number) for name, number in found.items()}
    except (OSError, ValueError, AttributeError):
        return {str(name): str(number) for name, number in network.about["versions"].items()}
