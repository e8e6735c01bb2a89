"""The report on a trained network, evaluated on one split of its data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import frozen

from forestgaps_core.components import Tiles
from forestgaps_core.files.drafts import new_results
from forestgaps_core.output.report_sections import ReportData
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.network import TrainedNetwork, note_pixel_sizes, open_network
from forestgaps_evaluation.counting.size_recorder import SizeRecorder
from forestgaps_evaluation.counting.tile_counts import TileCounts, count_split
from forestgaps_evaluation.pages.glossary import RUN_WORDS
from forestgaps_evaluation.pages.pictures import make_agreement_legend, make_threshold_legend
from forestgaps_evaluation.pages.rendering import (
    NARROW_SPACE,
    format_counted,
    format_hectares,
    format_meters,
    format_number,
    format_score,
    render_page,
)
from forestgaps_evaluation.pages.sections import add_contents, make_sections
from forestgaps_evaluation.protocol.evaluation import AverageScores, Evaluation, evaluate_counts
from forestgaps_evaluation.run_report import figures
from forestgaps_evaluation.run_report.examples import make_examples
from forestgaps_evaluation.run_report.facts import (
    choose_main_threshold,
    choose_thresholds,
    describe_network,
    list_components,
    list_settings,
    list_stac_scores,
    read_config_text,
    read_epoch,
    read_versions,
)
from forestgaps_evaluation.run_report.stac_item import NetworkFacts, format_json, make_stac_item
from forestgaps_evaluation.run_report.statements import compute_mapped_fractions, write_statements
from forestgaps_evaluation.run_report.tables import make_confusion, make_score_table, make_size_table, make_stratum_table
from forestgaps_evaluation.run_report.training_log import make_training_charts, read_training_log

STAC_FILE = "model.stac.json"


@frozen(kw_only=True)
class Report:
    """The files of a report, and the results in it."""

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
    settings: Sequence[str] = (),
    progress: Callable[[Iterable[Tiles]], Iterable[Tiles]] = iter,
) -> Report:
    """Evaluate a run on a split, then write the page and, next to it, the STAC item of the network.

    Args:
        run: A run folder, a checkpoint file, a model folder or the name of an installed model, as for `load_predictor`.
        out: The page, a new file.
        thresholds: Meters. By default, the thresholds of the protocol within the range of training.
        data: A run file or run folder with the data to evaluate on instead of the run's own.
        changes: Changes of the data table, such as `data.folder=elsewhere`.
        notes: License and credit of the data.
        settings: Of sections that packages add, such as `name.key=value`.

    Raises:
        DataError: An output file already exists, or the split is empty.
        CheckpointError: `run` does not contain a trained network.
    """
    beside = out.parent / STAC_FILE
    with new_results(out, beside, purpose="report") as drafts:
        trained = open_network(run, device=device, checkpoint=checkpoint, data=data, changes=changes, plugins=plugins)
        recorded = SizeRecorder.wrap(trained)
        tile_counts = count_split(recorded, split, thresholds or choose_thresholds(trained.predictor.thresholds), progress=progress)
        evaluation = evaluate_counts([tile_counts], notes=note_pixel_sizes([trained]))
        network = describe_network(trained)
        values = fill_template(trained, tile_counts, evaluation, recorded.sizes(tile_counts.resolution_m), network, notes)
        data_of_page = ReportData(
            subject="run",
            path=Path(trained.run),
            thresholds=tuple(tile_counts.thresholds.tolist()),
            resolution_m=tile_counts.resolution_m,
            evaluation=evaluation,
        )
        sections = make_sections(data_of_page, plugins or Plugins.discover(), settings)
        contents = add_contents(values["contents"], sections)
        html = render_page("run.html", {**values, "contents": contents, "sections": sections})
        item = make_stac_item(network, beside.parent, scores=list_stac_scores(evaluation), notes=notes)
        for draft, text in zip(drafts, (html, format_json(item)), strict=True):
            draft.write_text(text, encoding="utf-8")
    return Report(page=out, card=beside, tile_counts=tile_counts, evaluation=evaluation)


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
        "created": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "name": network.name,
        "split": tile_counts.split,
        "tiles": len(tile_counts),
        "hectares": area,
        "main": main,
        "contents": list_sections(log is not None),
        "facts": list_facts(tile_counts, network, area, overall),
        "statements": write_statements(evaluation, tile_counts, main),
        "legend": make_threshold_legend(tile_counts.thresholds.tolist()),
        "agreement": make_agreement_legend(),
        "examples": make_examples(trained, tile_counts, main),
        "score_chart": figures.make_score_chart(rows),
        "fraction_chart": figures.make_fraction_chart(rows, compute_mapped_fractions(tile_counts)),
        "scores": make_score_table(rows, compute_mapped_fractions(tile_counts)),
        "blocks": rows[0].blocks,
        "resamples": evaluation.resamples,
        "confusion": make_confusion(tile_counts, rows),
        "precision": figures.make_precision_charts(tile_counts, rows),
        "decision_thresholds": figures.make_decision_threshold_charts(tile_counts, rows),
        "reliability": figures.make_reliability_charts(tile_counts, rows),
        "sizes": figures.make_size_charts(sizes, rows),
        "size_table": make_size_table(sizes, rows),
        "cells": figures.make_cell_charts(tile_counts, rows),
        "cell_count": figures.compute_cell_errors(tile_counts)[2],
        "cell_m": f"{wide:.0f} × {high:.0f}{NARROW_SPACE}m",
        "strata": [
            (title, make_stratum_table(evaluation, by))
            for by, title in (("slope", "By ground slope"), ("canopy cover", "By canopy cover"))
        ],
        "heights": evaluation.heights,
        "training": make_training_charts(log, read_epoch(trained.checkpoint)) if log else [],
        "config": read_config_text(trained, network),
        "checkpoint": str(network.weights),
        "command_lines": [
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
        ("findings", "Summary"),
        ("maps", "Maps"),
        ("scores", "Scores"),
        ("curves", "Decision threshold"),
        ("reliability", "Calibration"),
        ("sizes", "Gap sizes"),
        ("cells", "Gap fraction of cells"),
        ("places", "Slope and canopy cover"),
        ("training", "Training"),
        ("made-of", "Configuration"),
        ("data", "Data and license"),
        ("glossary", "Glossary"),
    ]
    return [section for section in listed if logged or section[0] != "training"]


def list_facts(tile_counts: TileCounts, network: NetworkFacts, area: float, overall: AverageScores) -> list[tuple[str, str]]:
    return [
        ("Mean IoU over the evaluated thresholds", format_score(overall.mean_iou.mean)),
        ("Baseline without skill", format_score(overall.baseline)),
        ("Evaluated on", f"{format_counted(len(tile_counts), f'{tile_counts.split} tile')}, {format_hectares(area)}"),
        ("Pixel size", format_meters(tile_counts.resolution_m)),
        ("Thresholds", ", ".join(f"{level:g}" for level in tile_counts.thresholds) + f"{NARROW_SPACE}m"),
        ("Network", f"{network.about['config']['model']['name'].rpartition(':')[2]}, {format_number(network.parameters)} weights"),
    ]
