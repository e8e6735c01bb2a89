"""The summary of an evaluation in sentences, for readers who do not know the scores. Every number in them is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forestgaps_evaluation.counting.tile_counts import TileCounts
from forestgaps_evaluation.pages.rendering import (
    NARROW_SPACE,
    Statement,
    format_meters,
    format_percent,
    format_points,
    format_score,
)
from forestgaps_evaluation.protocol.evaluation import Evaluation, Score, ThresholdScores
from forestgaps_evaluation.protocol.scores import EVALUATED_FRACTIONS
from forestgaps_evaluation.run_report.figures import compute_calibration_errors, compute_cell_errors


def write_statements(evaluation: Evaluation, tile_counts: TileCounts, main: float) -> list[Statement]:
    """Return the statements in order of interest: best, worst, area, strata, probabilities, then cautions.

    Args:
        main: The threshold of statements about a single threshold.
    """
    rows = [row for row in evaluation.rows if row.by == "all"]
    evaluated = [row for row in rows if row.evaluated]
    statements: list[Statement] = []
    if evaluated:
        statements += describe_agreement(evaluated)
        statements += describe_areas(evaluated, tile_counts)
        statements += describe_strata(evaluation)
        statements += describe_cells(tile_counts, main)
        statements += describe_calibration(evaluated, tile_counts)
    else:
        low, high = (format_percent(fraction, 0) for fraction in EVALUATED_FRACTIONS)
        statements.append(
            Statement(
                f"At every threshold, the gap fraction of the reference is below {low} or above {high}. The scores on this page "
                "do not show how good the map is.",
                caution=True,
            )
        )
    statements += list_cautions(evaluation, rows)
    return statements


def format_with_interval(value: Score) -> str:
    """Return text such as '0.91 (95 % interval 0.88 to 0.94)', without the brackets if there is no interval."""
    has_interval = np.isfinite([value.low, value.high]).all()
    return (
        f"{format_score(value.mean)} (95{NARROW_SPACE}% interval {format_score(value.low)} to {format_score(value.high)})"
        if has_interval
        else format_score(value.mean)
    )


def describe_agreement(evaluated: Sequence[ThresholdScores]) -> list[Statement]:
    def gain(row: ThresholdScores) -> float:
        return row.scores["mean_iou"].mean - row.baseline["mean_iou"]

    best, worst = (choice(evaluated, key=lambda row: row.scores["mean_iou"].mean) for choice in (max, min))
    statements = [
        Statement(
            f"Map and reference agree best at {format_meters(best.threshold)}: mean IoU "
            f"{format_with_interval(best.scores['mean_iou'])}. There, gaps cover {format_percent(best.gap_fraction)} of the "
            f"area, and the baseline, a map without skill, scores {format_score(best.baseline['mean_iou'])}."
        )
    ]
    if worst is not best:
        statements.append(
            Statement(
                f"They agree least at {format_meters(worst.threshold)}: mean IoU "
                f"{format_with_interval(worst.scores['mean_iou'])}, gap fraction "
                f"{format_percent(worst.gap_fraction)}, baseline {format_score(worst.baseline['mean_iou'])}."
            )
        )
    useless = [row for row in evaluated if gain(row) <= 0 or row.scores["mean_iou"].low <= row.baseline["mean_iou"]]
    if useless:
        statements.append(
            Statement(
                f"At {format_thresholds(useless)}, the score is not clearly better than the baseline. Do not use the map at "
                f"{'this threshold' if len(useless) == 1 else 'these thresholds'}.",
                caution=True,
            )
        )
    return statements


def compute_mapped_fractions(tile_counts: TileCounts) -> list[float]:
    """Return the fraction of valid pixels that are mapped as gap, (K,)."""
    total = tile_counts.counts.sum(0)
    return [float((row[0] + row[1]) / row.sum()) if row.sum() else float("nan") for row in total]


def describe_areas(evaluated: Sequence[ThresholdScores], tile_counts: TileCounts) -> list[Statement]:
    mapped = dict(zip(tile_counts.thresholds.tolist(), compute_mapped_fractions(tile_counts), strict=True))
    errors = [mapped[row.threshold] - row.gap_fraction for row in evaluated]
    largest = max(range(len(evaluated)), key=lambda n: abs(errors[n]))
    row = evaluated[largest]
    side = "more" if errors[largest] > 0 else "less"
    return [
        Statement(
            f"The gap fraction of the map differs most from the reference at {format_meters(row.threshold)}: "
            f"{format_percent(mapped[row.threshold])} instead of "
            f"{format_percent(row.gap_fraction)}, {format_points(abs(errors[largest])).lstrip('+')} percentage points {side}."
        )
    ]


def describe_strata(evaluation: Evaluation) -> list[Statement]:
    """Compare the best and the worst stratum of slope and of canopy cover, if there are at least two."""
    statements = []
    for by, phrase in (("slope", "a mean ground slope of {label}"), ("canopy cover", "a canopy cover of {label}")):
        scored = [part for part in evaluation.overall if part.by == by and np.isfinite(part.mean_iou.mean)]
        if len(scored) < 2:
            continue
        best, worst = (choice(scored, key=lambda part: part.mean_iou.mean) for choice in (max, min))
        statements.append(
            Statement(
                f"Mean IoU is highest in tiles with {phrase.format(label=best.label.replace('-', '–'))} "
                f"({format_score(best.mean_iou.mean)}), and lowest in tiles with "
                f"{phrase.format(label=worst.label.replace('-', '–'))} ({format_score(worst.mean_iou.mean)})."
            )
        )
    return statements


def describe_cells(tile_counts: TileCounts, main: float) -> list[Statement]:
    errors, _, number = compute_cell_errors(tile_counts)
    if number < 3:
        return []
    k = tile_counts.thresholds.tolist().index(main)
    high, wide = tile_counts.cell_m
    return [
        Statement(
            f"In cells of {wide:.0f} × {high:.0f}{NARROW_SPACE}m, the median absolute error of the gap fraction at "
            f"{format_meters(main)} is {format_percent(float(errors[k]))} of the cell area ({number} cells)."
        )
    ]


def describe_calibration(evaluated: Sequence[ThresholdScores], tile_counts: TileCounts) -> list[Statement]:
    errors = dict(zip(tile_counts.thresholds.tolist(), compute_calibration_errors(tile_counts).tolist(), strict=True))
    worst = max(evaluated, key=lambda row: errors[row.threshold])
    return [
        Statement(
            f"The calibration error is largest at {format_meters(worst.threshold)}: there, probabilities differ from the observed "
            f"frequency of gaps by {format_percent(errors[worst.threshold])} on average."
        )
    ]


def list_cautions(evaluation: Evaluation, rows: Sequence[ThresholdScores]) -> list[Statement]:
    statements = []
    extreme, outside = [row for row in rows if not row.evaluated], [row for row in rows if row.extrapolated]
    if extreme and len(extreme) < len(rows):
        low, high = (format_percent(fraction, 0) for fraction in EVALUATED_FRACTIONS)
        statements.append(
            Statement(
                f"At {format_thresholds(extreme)}, the gap fraction of the reference is below {low} or above {high} (extreme "
                "prevalence). Scores there are shown but not evaluated.",
                caution=True,
            )
        )
    if outside:
        statements.append(
            Statement(
                f"The network was not trained for {format_thresholds(outside)}. Its maps there are extrapolated.", caution=True
            )
        )
    if evaluation.split != "test":
        statements.append(
            Statement(
                f"These tiles are in the {evaluation.split} split, which was used to train or select the network. Expect lower "
                "scores on other data.",
                caution=True,
            )
        )
    statements += [Statement(note[:1].upper() + note[1:] + ".", caution=True) for note in evaluation.notes]
    return statements


def format_thresholds(rows: Sequence[ThresholdScores]) -> str:
    """Return text such as '2, 5 and 10 m'."""
    named = [f"{row.threshold:g}" for row in rows]
    return (f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]) + f"{NARROW_SPACE}m"
