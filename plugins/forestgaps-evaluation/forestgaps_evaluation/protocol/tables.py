"""An evaluation as tables: on screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from math import isnan

import attrs
from attrs import frozen
from rich.console import Console

from forestgaps_core.errors import printable
from forestgaps_core.output.counts import format_count
from forestgaps_core.output.json_values import replace_nonfinite
from forestgaps_core.output.spreadsheet import neutralize_formula
from forestgaps_core.output.tables import print_table
from forestgaps_evaluation.protocol.evaluation import Advantage, AverageScores, Evaluation, Score, ThresholdScores

EXTREME, EXTRAPOLATED = "†", "‡"
LEGEND = {
    EXTREME: "less than 1 % or more than 95 % gap: not evaluated",
    EXTRAPOLATED: "threshold outside the training of the network",
}
SPLIT_WARNING = (
    "A random split as a measure of leakage. These are not scores of the network: `mixed` was trained on neighbors of these tiles."
)


@frozen
class TextTable:
    """A table of text; a cell may have two lines."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()


def make_tables(evaluation: Evaluation) -> Iterator[TextTable]:
    """Yield the tables: scores by threshold, ground filters, strata, leakage."""
    yield make_threshold_table(evaluation)
    if evaluation.filters:
        yield make_filter_table(evaluation)
    yield make_stratum_table(evaluation)
    if evaluation.leakage is not None:
        yield make_leakage_table(evaluation)


def make_threshold_table(evaluation: Evaluation) -> TextTable:
    rows = [row for row in evaluation.rows if row.by == "all"]
    whole = evaluation.overall[0]
    seeds = len(evaluation.runs) > 1
    head = ("threshold", "gap fraction", "gap IoU", "baseline", "canopy IoU", "mean IoU", "95 %", *(["seeds ±"] if seeds else []))
    cells = []
    for row in rows:
        mean, gap = row.scores["mean_iou"], row.scores["gap_iou"]
        front = (
            f"{row.threshold:g} m{format_marks(row)}",
            format_percent(row.gap_fraction),
            format_number(gap.mean),
            format_number(row.baseline["gap_iou"]),
        )
        middle = (
            format_number(row.scores["canopy_iou"].mean),
            format_number(mean.mean),
            format_range(mean),
            *([format_number(mean.spread)] if seeds else []),
        )
        ends = [format_number(row.scores[name].mean) for name in ("gap_f1", "gap_precision", "gap_recall", "mcc")]
        cells.append((*front, *middle, format_number(row.baseline["mean_iou"]), format_number(row.random["mean_iou"]), *ends))
    last = (f"mean of {len(whole.thresholds)}", "", "", "", "", format_number(whole.mean_iou.mean), format_range(whole.mean_iou))
    ends = [format_number(whole.baseline), format_number(whole.random), "", "", "", ""]
    cells.append((*last, *([format_number(whole.mean_iou.spread)] if seeds else []), *ends))
    foot = [f"{mark} {text}" for mark, text in LEGEND.items() if any(mark in cell[0] for cell in cells)]
    tiles = f"{format_count(rows[0].tiles, 'tile')} in {format_count(rows[0].blocks, 'spatial block')}" if rows else ""
    foot += [f"canopy height: {format_heights(evaluation)}"] if evaluation.heights else []
    foot += evaluation.notes
    title = f"{', '.join(str(run['run']) for run in evaluation.runs)}: {evaluation.split}, {tiles}"
    return TextTable(title, (*head, "baseline", "random", "F1", "precision", "recall", "MCC"), tuple(cells), tuple(foot))


def format_heights(evaluation: Evaluation) -> str:
    parts = {"mae_m": "mean error", "rmse_m": "RMSE", "bias_m": "bias"}
    return ", ".join(
        f"{label} {format_number(score.mean, 2)} m{format_interval(score)}"
        for name, label in parts.items()
        if (score := evaluation.heights.get(name)) is not None
    )


def make_stratum_table(evaluation: Evaluation) -> TextTable:
    """Return the table of mean IoU by stratum, with the better of baseline and random, and the gap fraction."""
    thresholds = [row.threshold for row in evaluation.rows if row.by == "all"]
    cells = []
    for part in evaluation.overall:
        rows = [row for row in evaluation.rows if (row.by, row.label) == (part.by, part.label)]
        name = "all" if part.by == "all" else f"{part.by} {part.label}"
        cells.append((name, f"{rows[0].tiles}\n{rows[0].blocks}", *map(format_stratum_cell, rows), format_average(part)))
    head = ("place", "tiles\nblocks", *(f"{threshold:g} m" for threshold in thresholds), "mean")
    foot = (
        "above: mean IoU; below: the better of baseline and random, and the gap fraction",
        "mean: over the thresholds evaluated in that stratum (the baseline), below its 95 % interval",
    )
    return TextTable(
        f"Mean IoU by {', '.join(dict.fromkeys(part.by for part in evaluation.overall[1:]))}", head, tuple(cells), foot
    )


def format_stratum_cell(row: ThresholdScores) -> str:
    beat = max(row.baseline["mean_iou"], row.random["mean_iou"])
    mark = "" if row.evaluated else EXTREME
    return f"{format_number(row.scores['mean_iou'].mean, 2)}{mark}\n{format_number(beat, 2)} {format_percent(row.gap_fraction, 0)}"


def format_average(part: AverageScores) -> str:
    if not part.thresholds:
        return "-"
    baseline = format_number(max(part.baseline, part.random), 2)
    return f"{format_number(part.mean_iou.mean, 2)} ({baseline})\n{format_range(part.mean_iou, 2)}"


def make_filter_table(evaluation: Evaluation) -> TextTable:
    """Return the table of the network beside ground filters; the last column is the network minus the best filter."""
    filters = evaluation.filters
    rows = []
    for parts in zip(*(one.rows for one in filters), strict=True):
        name = f"{parts[0].threshold:g} m{'' if parts[0].evaluated else EXTREME}"
        rows.append((name, *format_advantages(parts)))
    rows.append((f"mean of {sum(row.evaluated for row in filters[0].rows)}", *format_advantages([one.overall for one in filters])))
    foot = ["mean IoU; below each filter: network minus filter, with its 95 % interval"]
    if any(EXTREME in row[0] for row in rows):
        foot.append(f"{EXTREME} {LEGEND[EXTREME]}")
    head = ("threshold", "network", *(one.name for one in filters), "network - best")
    return TextTable("Ground filters, which need no training", head, tuple(rows), tuple(foot))


def format_advantages(parts: Sequence[Advantage]) -> Iterator[str]:
    """Yield the score of the network, those of the filters, and the difference to the best of these."""
    yield format_number(parts[0].network)
    for part in parts:
        interval = "" if isnan(part.low) else f" ({format_signed(part.low)} to {format_signed(part.high)})"
        yield f"{format_number(part.baseline)}\n{format_signed(part.difference)}{interval}"
    yield format_signed(min((part.difference for part in parts), default=float("nan")))


def make_leakage_table(evaluation: Evaluation) -> TextTable:
    assert evaluation.leakage is not None
    found = evaluation.leakage
    rows = tuple(
        (
            f"{one.threshold:g} m{'' if one.evaluated else EXTREME}",
            format_number(one.spatial),
            format_number(one.mixed),
            format_signed(one.difference),
            f"{format_signed(one.low)} to {format_signed(one.high)}",
        )
        for one in found.differences
    )
    foot = (
        SPLIT_WARNING,
        f"mean IoU on {format_count(found.tiles, 'tile')} of the test split in {format_count(found.blocks, 'block')}",
        f"mixed: {found.folder}",
    )
    return TextTable("Leakage", ("threshold", "spatial", "mixed", "leakage", "95 %"), rows, foot)


# --- texts ----------------------------------------------------------------------------------------------------------


def format_number(value: float, digits: int = 3) -> str:
    return "-" if isnan(value) else f"{value:.{digits}f}"


def format_signed(value: float) -> str:
    return "-" if isnan(value) else f"{value:+.3f}"


def format_percent(fraction: float, digits: int = 1) -> str:
    return "-" if isnan(fraction) else f"{fraction:.{digits}%}"


def format_range(score: Score, digits: int = 3) -> str:
    return "-" if isnan(score.low) else f"{format_number(score.low, digits)}-{format_number(score.high, digits)}"


def format_interval(score: Score) -> str:
    return "" if isnan(score.low) else f" (95 % interval {format_number(score.low, 2)} to {format_number(score.high, 2)})"


def format_marks(row: ThresholdScores) -> str:
    found = [mark for mark, there in ((EXTREME, not row.evaluated), (EXTRAPOLATED, row.extrapolated)) if there]
    return f" {''.join(found)}" if found else ""


# --- files ----------------------------------------------------------------------------------------------------------


def print_tables(evaluation: Evaluation, console: Console) -> None:
    for cells in make_tables(evaluation):
        aside = [place for place, row in enumerate(cells.rows) if EXTREME in row[0]]
        print_table(cells.head, cells.rows, console, title=cells.title, dim=aside)
        for line in cells.foot:
            console.print(printable(line), highlight=False, markup=False)
        console.print()


def format_markdown(evaluation: Evaluation) -> str:
    """Return the tables as Markdown."""
    parts = []
    for cells in make_tables(evaluation):
        lines = [cells.head, tuple("---" for _ in cells.head), *cells.rows]
        body = "\n".join(f"| {' | '.join(cell.replace(chr(10), '<br>') for cell in row)} |" for row in lines)
        parts.append("\n\n".join([f"## {escape_markdown(cells.title)}", body, *map(escape_markdown, cells.foot)]))
    return "\n\n".join(parts) + "\n"


def escape_markdown(text: str) -> str:
    """Escape text, such as file names, for Markdown."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(printable(text), quote=False))


def format_csv(evaluation: Evaluation) -> str:
    """Return CSV with a line for each place, threshold and score. Undefined values are empty."""
    runs = [neutralize_formula(f"{run['run']}") for run in evaluation.runs]
    facts = ("by", "label", "tiles", "blocks", "pixels", "threshold", "gap_fraction", "evaluated", "extrapolated")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*facts, "score", "mean", "spread", "low", "high", "baseline", "random", *runs])
    for row in evaluation.rows:
        for name, score in row.scores.items():
            values = (score.mean, score.spread, score.low, score.high, row.baseline[name], row.random[name], *score.each)
            cells = [neutralize_formula(getattr(row, fact)) for fact in facts]
            writer.writerow([*cells, neutralize_formula(name), *("" if isnan(value) else repr(value) for value in values)])
    return text.getvalue()


def format_json(evaluation: Evaluation) -> str:
    return json.dumps(replace_nonfinite(attrs.asdict(evaluation)), indent=1) + "\n"
