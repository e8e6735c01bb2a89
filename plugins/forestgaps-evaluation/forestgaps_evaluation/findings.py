"""What an evaluation comes to, in sentences for a reader who has not seen a score before. Every number in them is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forestgaps_evaluation.evaluation import Evaluation, Row, Score
from forestgaps_evaluation.figures import calibration_errors, cell_errors
from forestgaps_evaluation.rendering import SPACE, Finding, meters, percent, points, score
from forestgaps_evaluation.scores import JUDGED
from forestgaps_evaluation.tallies import Tallies


def findings(evaluation: Evaluation, tallies: Tallies, main: float) -> list[Finding]:
    """In the order a reader needs them: best, worst, area, places, probabilities, then cautions.

    Args:
        main: The threshold shown where only one can be.
    """
    rows = [row for row in evaluation.rows if row.by == "all"]
    fair = [row for row in rows if row.judged]
    said: list[Finding] = []
    if fair:
        said += agreement(fair)
        said += areas(fair, tallies)
        said += kinds_of_place(evaluation)
        said += cells(tallies, main)
        said += probabilities(fair, tallies)
    else:
        low, high = (percent(share, 0) for share in JUDGED)
        said.append(
            Finding(
                f"Gap covers under {low} or over {high} of the reference at every threshold, so no score on this page can "
                "be judged by.",
                True,
            )
        )
    said += cautions(evaluation, rows)
    return said


def with_interval(value: Score) -> str:
    """'0.91 (0.88 to 0.94)', without the brackets where there is no interval."""
    known = np.isfinite([value.low, value.high]).all()
    return f"{score(value.mean)} (95{SPACE}% interval {score(value.low)} to {score(value.high)})" if known else score(value.mean)


def agreement(fair: Sequence[Row]) -> list[Finding]:
    def gain(row: Row) -> float:
        return row.scores["mean_iou"].mean - row.trivial["mean_iou"]

    best, worst = (choice(fair, key=lambda row: row.scores["mean_iou"].mean) for choice in (max, min))
    said = [
        Finding(
            f"Map and reference agree best at {meters(best.threshold)}: mean IoU {with_interval(best.scores['mean_iou'])}, "
            "where gap covers "
            f"{percent(best.gap_fraction)} of the area and a map without any skill would score {score(best.trivial['mean_iou'])}."
        )
    ]
    if worst is not best:
        said.append(
            Finding(
                f"They agree least at {meters(worst.threshold)}: mean IoU {with_interval(worst.scores['mean_iou'])}, gap fraction "
                f"{percent(worst.gap_fraction)}, without skill {score(worst.trivial['mean_iou'])}."
            )
        )
    useless = [row for row in fair if gain(row) <= 0 or row.scores["mean_iou"].low <= row.trivial["mean_iou"]]
    if useless:
        said.append(
            Finding(
                f"At {levels(useless)} the score is not clearly better than that of a map without skill: do not use the map there.",
                caution=True,
            )
        )
    return said


def mapped_shares(tallies: Tallies) -> list[float]:
    """(K) share of all valid pixels that the map calls gap."""
    total = tallies.counts.sum(0)
    return [float((row[0] + row[1]) / row.sum()) if row.sum() else float("nan") for row in total]


def areas(fair: Sequence[Row], tallies: Tallies) -> list[Finding]:
    mapped = dict(zip(tallies.thresholds.tolist(), mapped_shares(tallies), strict=True))
    apart = [mapped[row.threshold] - row.gap_fraction for row in fair]
    far = max(range(len(fair)), key=lambda n: abs(apart[n]))
    row = fair[far]
    side = "more" if apart[far] > 0 else "less"
    return [
        Finding(
            f"The area mapped as gap is furthest from the reference at {meters(row.threshold)}: "
            f"{percent(mapped[row.threshold])} of the area instead of "
            f"{percent(row.gap_fraction)}, {points(abs(apart[far])).lstrip('+')} percentage points {side}."
        )
    ]


def kinds_of_place(evaluation: Evaluation) -> list[Finding]:
    """The kind of place where it works worst, if there are kinds to compare."""
    said = []
    for by, words in (("slope", "ground of {label} on average"), ("canopy cover", "canopy cover of {label}")):
        known = [part for part in evaluation.overall if part.by == by and np.isfinite(part.mean_iou.mean)]
        if len(known) < 2:
            continue
        best, worst = (choice(known, key=lambda part: part.mean_iou.mean) for choice in (max, min))
        said.append(
            Finding(
                f"By {by} it works best in tiles with {words.format(label=best.label.replace('-', '–'))} (mean IoU "
                f"{score(best.mean_iou.mean)}) and worst with "
                f"{words.format(label=worst.label.replace('-', '–'))} ({score(worst.mean_iou.mean)})."
            )
        )
    return said


def cells(tallies: Tallies, main: float) -> list[Finding]:
    apart, _, number = cell_errors(tallies)
    if number < 3:
        return []
    k = tallies.thresholds.tolist().index(main)
    high, wide = tallies.cell_m
    return [
        Finding(
            f"In cells of {wide:.0f} × {high:.0f}{SPACE}m the gap fraction at {meters(main)} is off by "
            f"{percent(float(apart[k]))} of the cell or less in half of "
            f"the {number} cells."
        )
    ]


def probabilities(fair: Sequence[Row], tallies: Tallies) -> list[Finding]:
    errors = dict(zip(tallies.thresholds.tolist(), calibration_errors(tallies).tolist(), strict=True))
    worst = max(fair, key=lambda row: errors[row.threshold])
    return [
        Finding(
            f"Probabilities differ from observed gap frequencies by {percent(errors[worst.threshold])} on average; the "
            "difference is largest at "
            f"{meters(worst.threshold)}."
        )
    ]


def cautions(evaluation: Evaluation, rows: Sequence[Row]) -> list[Finding]:
    said = []
    unjudged, outside = [row for row in rows if not row.judged], [row for row in rows if row.outside]
    if unjudged and len(unjudged) < len(rows):
        low, high = (percent(share, 0) for share in JUDGED)
        said.append(
            Finding(
                f"At {levels(unjudged)} gap covers under {low} or over {high} of the reference: scores there are shown and "
                "not evaluated.",
                caution=True,
            )
        )
    if outside:
        said.append(Finding(f"The network was not trained for {levels(outside)}: what it maps there is a guess.", caution=True))
    if evaluation.split != "test":
        said.append(
            Finding(
                f"These are tiles of the {evaluation.split} split, which the network has learned from or was chosen by: it "
                "will do worse elsewhere.",
                True,
            )
        )
    said += [Finding(note[:1].upper() + note[1:] + ".", caution=True) for note in evaluation.notes]
    return said


def levels(rows: Sequence[Row]) -> str:
    """'2, 5 and 10 m'."""
    named = [f"{row.threshold:g}" for row in rows]
    return (f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]) + f"{SPACE}m"
