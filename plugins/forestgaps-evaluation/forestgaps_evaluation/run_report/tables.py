"""The tables of a report on a run."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.tile_counts import TileCounts
from forestgaps_evaluation.pages.rendering import (
    TableRow,
    format_meters,
    format_number,
    format_percent,
    format_score,
    format_square_meters,
)
from forestgaps_evaluation.protocol.evaluation import Evaluation, ThresholdScores


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
    """Fractions of all pixels at one threshold, 0 to 1. Gaps are the positive class."""

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
    """Return a row for each stratum, with scores averaged over the evaluated thresholds; `evaluate` reports each threshold."""
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
