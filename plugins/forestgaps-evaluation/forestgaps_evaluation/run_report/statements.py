"""What an evaluation comes to, in sentences for a reader who has not seen a score before. Every number in them is computed."""

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
    """In the order a reader needs them: best, worst, area, places, probabilities, then cautions.

    Args:
        main: The threshold shown where only one can be.
    """
    rows = [row for row in evaluation.rows if row.by == "all"]
    evaluated = [row for row in rows if row.evaluated]
    said: list[Statement] = []
    if evaluated:
        said += describe_agreement(evaluated)
        said += describe_areas(evaluated, tile_counts)
        said += describe_strata(evaluation)
        said += describe_cells(tile_counts, main)
        said += describe_calibration(evaluated, tile_counts)
    else:
        low, high = (format_percent(fraction, 0) for fraction in EVALUATED_FRACTIONS)
        said.append(
            Statement(
                f"Gap covers under {low} or over {high} of the reference at every threshold, so no score on this page can "
                "be evaluated by.",
                True,
            )
        )
    said += list_cautions(evaluation, rows)
    return said


def format_with_interval(value: Score) -> str:
    """'0.91 (0.88 to 0.94)', without the brackets where there is no interval."""
    known = np.isfinite([value.low, value.high]).all()
    return (
        f"{format_score(value.mean)} (95{NARROW_SPACE}% interval {format_score(value.low)} to {format_score(value.high)})"
        if known
        else format_score(value.mean)
    )


def describe_agreement(evaluated: Sequence[ThresholdScores]) -> list[Statement]:
    def gain(row: ThresholdScores) -> float:
        return row.scores["mean_iou"].mean - row.baseline["mean_iou"]

    best, worst = (choice(evaluated, key=lambda row: row.scores["mean_iou"].mean) for choice in (max, min))
    said = [
        Statement(
            f"Map and reference agree best at {format_meters(best.threshold)}: mean IoU "
            f"{format_with_interval(best.scores['mean_iou'])}, "
            "where gap covers "
            f"{format_percent(best.gap_fraction)} of the area and a map without any skill would score "
            f"{format_score(best.baseline['mean_iou'])}."
        )
    ]
    if worst is not best:
        said.append(
            Statement(
                f"They agree least at {format_meters(worst.threshold)}: mean IoU "
                f"{format_with_interval(worst.scores['mean_iou'])}, gap fraction "
                f"{format_percent(worst.gap_fraction)}, without skill {format_score(worst.baseline['mean_iou'])}."
            )
        )
    useless = [row for row in evaluated if gain(row) <= 0 or row.scores["mean_iou"].low <= row.baseline["mean_iou"]]
    if useless:
        said.append(
            Statement(
                f"At {format_thresholds(useless)} the score is not clearly better than that of a map without skill: do not use "
                "the map there.",
                caution=True,
            )
        )
    return said


def compute_mapped_fractions(tile_counts: TileCounts) -> list[float]:
    """(K) fraction of all valid pixels that the map calls gap."""
    total = tile_counts.counts.sum(0)
    return [float((row[0] + row[1]) / row.sum()) if row.sum() else float("nan") for row in total]


def describe_areas(evaluated: Sequence[ThresholdScores], tile_counts: TileCounts) -> list[Statement]:
    mapped = dict(zip(tile_counts.thresholds.tolist(), compute_mapped_fractions(tile_counts), strict=True))
    apart = [mapped[row.threshold] - row.gap_fraction for row in evaluated]
    far = max(range(len(evaluated)), key=lambda n: abs(apart[n]))
    row = evaluated[far]
    side = "more" if apart[far] > 0 else "less"
    return [
        Statement(
            f"The area mapped as gap is furthest from the reference at {format_meters(row.threshold)}: "
            f"{format_percent(mapped[row.threshold])} of the area instead of "
            f"{format_percent(row.gap_fraction)}, {format_points(abs(apart[far])).lstrip('+')} percentage points {side}."
        )
    ]


def describe_strata(evaluation: Evaluation) -> list[Statement]:
    """The kind of place where it works worst, if there are kinds to compare."""
    said = []
    for by, words in (("slope", "ground of {label} on average"), ("canopy cover", "canopy cover of {label}")):
        known = [part for part in evaluation.overall if part.by == by and np.isfinite(part.mean_iou.mean)]
        if len(known) < 2:
            continue
        best, worst = (choice(known, key=lambda part: part.mean_iou.mean) for choice in (max, min))
        said.append(
            Statement(
                f"By {by} it works best in tiles with {words.format(label=best.label.replace('-', '–'))} (mean IoU "
                f"{format_score(best.mean_iou.mean)}) and worst with "
                f"{words.format(label=worst.label.replace('-', '–'))} ({format_score(worst.mean_iou.mean)})."
            )
        )
    return said


def describe_cells(tile_counts: TileCounts, main: float) -> list[Statement]:
    apart, _, number = compute_cell_errors(tile_counts)
    if number < 3:
        return []
    k = tile_counts.thresholds.tolist().index(main)
    high, wide = tile_counts.cell_m
    return [
        Statement(
            f"In cells of {wide:.0f} × {high:.0f}{NARROW_SPACE}m the gap fraction at {format_meters(main)} is off by "
            f"{format_percent(float(apart[k]))} of the cell or less in half of "
            f"the {number} cells."
        )
    ]


def describe_calibration(evaluated: Sequence[ThresholdScores], tile_counts: TileCounts) -> list[Statement]:
    errors = dict(zip(tile_counts.thresholds.tolist(), compute_calibration_errors(tile_counts).tolist(), strict=True))
    worst = max(evaluated, key=lambda row: errors[row.threshold])
    return [
        Statement(
            f"Probabilities differ from observed gap frequencies by {format_percent(errors[worst.threshold])} on average; the "
            "difference is largest at "
            f"{format_meters(worst.threshold)}."
        )
    ]


def list_cautions(evaluation: Evaluation, rows: Sequence[ThresholdScores]) -> list[Statement]:
    said = []
    extreme, outside = [row for row in rows if not row.evaluated], [row for row in rows if row.extrapolated]
    if extreme and len(extreme) < len(rows):
        low, high = (format_percent(fraction, 0) for fraction in EVALUATED_FRACTIONS)
        said.append(
            Statement(
                f"At {format_thresholds(extreme)} gap covers under {low} or over {high} of the reference: scores there are "
                "shown and "
                "not evaluated.",
                caution=True,
            )
        )
    if outside:
        said.append(
            Statement(f"The network was not trained for {format_thresholds(outside)}: what it maps there is a guess.", caution=True)
        )
    if evaluation.split != "test":
        said.append(
            Statement(
                f"These are tiles of the {evaluation.split} split, which the network has learned from or was chosen by: it "
                "will do worse elsewhere.",
                True,
            )
        )
    said += [Statement(note[:1].upper() + note[1:] + ".", caution=True) for note in evaluation.notes]
    return said


def format_thresholds(rows: Sequence[ThresholdScores]) -> str:
    """'2, 5 and 10 m'."""
    named = [f"{row.threshold:g}" for row in rows]
    return (f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]) + f"{NARROW_SPACE}m"
