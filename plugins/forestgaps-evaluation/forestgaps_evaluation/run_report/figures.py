"""The charts of a report on a run, drawn from its tile counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.tile_counts import DECISION_THRESHOLD_COUNT, TileCounts
from forestgaps_evaluation.pages.charts import Chart, make_log_scale, make_percent_scale, make_score_scale, make_value_scale
from forestgaps_evaluation.pages.rendering import format_percent, format_score
from forestgaps_evaluation.protocol.evaluation import ThresholdScores
from forestgaps_evaluation.protocol.scores import compute_scores

Reals = NDArray[np.float64]
MAX_CELLS = 1500  # in one chart; of more cells, every second, third ... is drawn


def format_title(threshold: float) -> str:
    return f"below {threshold:g} m"


def note_row(row: ThresholdScores) -> str:
    """Return the note beside the title of a threshold that is shown but not evaluated."""
    if not row.evaluated:
        return "extreme prevalence"
    return "not trained for" if row.extrapolated else ""


def make_score_chart(rows: Sequence[ThresholdScores]) -> Chart:
    """Return the chart of mean IoU, with its interval and the baseline, by threshold."""
    levels = [row.threshold for row in rows]
    values = [row.scores["mean_iou"] for row in rows]
    listed = "; ".join(
        f"{row.threshold:g} m {format_score(row.scores['mean_iou'].mean)} (baseline {format_score(row.baseline['mean_iou'])})"
        for row in rows
    )
    chart = Chart(
        "scores",
        "Mean IoU",
        f"Mean IoU by threshold: {listed}.",
        make_value_scale(levels, "threshold, m"),
        make_score_scale("mean IoU"),
        440,
        280,
    )
    baseline = [row.baseline["mean_iou"] for row in rows]
    chart.line(levels, baseline, "baseline")
    chart.points(levels, baseline, "baseline")
    chart.line(levels, [value.mean for value in values], "predicted")
    chart.ranges(levels, [value.low for value in values], [value.high for value in values], "predicted")
    chart.points(levels, [value.mean for value in values], "predicted", radius=4)
    return chart


def make_fraction_chart(rows: Sequence[ThresholdScores], mapped: Sequence[float]) -> Chart:
    """Return the chart of the gap fraction, in map and reference, by threshold."""
    levels = [row.threshold for row in rows]
    listed = "; ".join(
        f"{row.threshold:g} m {format_percent(fraction)} mapped, {format_percent(row.gap_fraction)} in the reference"
        for row, fraction in zip(rows, mapped, strict=True)
    )
    chart = Chart(
        "fractions",
        "Gap fraction",
        f"Gap fraction by threshold: {listed}.",
        make_value_scale(levels, "threshold, m"),
        make_percent_scale("fraction of the area"),
        440,
        280,
    )
    observed = [row.gap_fraction for row in rows]
    chart.line(levels, mapped, "predicted")
    chart.line(levels, observed, "reference")
    chart.points(levels, observed, "reference", radius=4)
    chart.points(levels, mapped, "predicted")
    return chart


def count_by_decision_threshold(tile_counts: TileCounts) -> NDArray[np.int64]:
    """Return tp, fp, fn, tn at each of 101 decision thresholds, (K, 101, 4)."""
    total = tile_counts.counts.sum(0)
    gap, canopy = total[:, 0] + total[:, 2], total[:, 1] + total[:, 3]
    tp, fp = tile_counts.curve[..., 0], tile_counts.curve[..., 1]
    counts: NDArray[np.int64] = np.stack([tp, fp, gap[:, None] - tp, canopy[:, None] - fp], axis=-1)
    return counts


def make_precision_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Return charts of precision by recall, with the decision threshold 0.5 marked."""
    scores = compute_scores(count_by_decision_threshold(tile_counts))
    charts = []
    for k, row in enumerate(rows):
        precision, recall = scores["gap_precision"][k], scores["gap_recall"][k]
        current = row.scores["gap_precision"].mean, row.scores["gap_recall"].mean
        description = (
            f"At a decision threshold of 0.5, precision {format_score(current[0])} and recall {format_score(current[1])}; "
            f"baseline precision {format_score(row.gap_fraction)}."
        )
        chart = Chart(
            f"precision-{k}",
            format_title(row.threshold),
            description,
            make_percent_scale("recall"),
            make_percent_scale("precision"),
            note=note_row(row),
        )
        chart.line([0, 1], [row.gap_fraction] * 2, "baseline")
        chart.line(recall, precision, "predicted")
        chart.points([current[1]], [current[0]], "predicted", radius=4.5)
        charts.append(chart)
    return charts


def make_decision_threshold_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Return charts of mean IoU by decision threshold."""
    mean_iou = compute_scores(count_by_decision_threshold(tile_counts))["mean_iou"]
    decision_thresholds = np.linspace(0, 1, DECISION_THRESHOLD_COUNT)
    charts = []
    for k, row in enumerate(rows):
        finite = np.isfinite(mean_iou[k])
        best = int(np.nanargmax(mean_iou[k])) if finite.any() else 0
        half, highest = format_score(mean_iou[k, DECISION_THRESHOLD_COUNT // 2]), format_score(mean_iou[k, best])
        chart = Chart(
            f"decision-threshold-{k}",
            format_title(row.threshold),
            f"Mean IoU {half} at a decision threshold of 0.5; the maximum is {highest} at {decision_thresholds[best]:.2f}.",
            make_score_scale("decision threshold"),
            make_score_scale("mean IoU"),
            note=note_row(row),
        )
        chart.upright(0.5, "marker")
        chart.line([0, 1], [row.baseline["mean_iou"]] * 2, "baseline")
        chart.line(decision_thresholds, mean_iou[k], "predicted")
        chart.points([decision_thresholds[best]], [mean_iou[k, best]], "predicted", radius=4.5)
        charts.append(chart)
    return charts


def compute_calibration_errors(tile_counts: TileCounts) -> Reals:
    """Return the expected calibration error at each threshold, (K,); NaN without pixels.

    Twenty bins of equal width. Source: Naeini et al. 2015, doi 10.1609/aaai.v29i1.9602
    """
    pixels, probability, observed = np.moveaxis(tile_counts.reliability, -1, 0)
    with np.errstate(invalid="ignore"):
        error: Reals = np.abs(probability - observed).sum(1) / pixels.sum(1)
    return error


def make_reliability_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Return charts of the observed frequency of gaps by predicted probability."""
    errors = compute_calibration_errors(tile_counts)
    charts = []
    for k, row in enumerate(rows):
        pixels, probability, observed = tile_counts.reliability[k].T
        few = pixels < max(1e-4 * pixels.sum(), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            predicted, frequency = (np.where(few, np.nan, total / pixels) for total in (probability, observed))
        error = format_percent(float(errors[k]))
        chart = Chart(
            f"reliability-{k}",
            format_title(row.threshold),
            f"The calibration error is {error}.",
            make_percent_scale("predicted probability"),
            make_percent_scale("observed frequency"),
            note=f"calibration error {error}",
        )
        chart.line([0, 1], [0, 1], "ideal")
        chart.line(predicted, frequency, "predicted")
        weight = np.sqrt(pixels / max(pixels.max(), 1))
        for x, y, size in zip(predicted, frequency, weight, strict=True):
            chart.points([x], [y], "predicted", radius=2.4 + 4 * float(size))
        charts.append(chart)
    return charts


def make_size_charts(sizes: Sequence[tuple[GapSizes, GapSizes]], rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Return charts of the number of gaps of at least each area, in map and reference."""
    nonempty = [part for pair in sizes for part in pair if len(part)]
    low = min((float(part.areas_m2[0]) for part in nonempty), default=1.0)
    high = max((part.largest_m2 for part in nonempty), default=10.0)
    most = max((len(part) for part in nonempty), default=2)
    charts = []
    for k, (row, (mapped, reference)) in enumerate(zip(rows, sizes, strict=True)):
        description = f"{format_count(len(mapped), 'gap')} in the map, {len(reference):,} in the reference."
        note = f"map {len(mapped)}, reference {len(reference)}"
        chart = Chart(
            f"size-{k}",
            format_title(row.threshold),
            description,
            make_log_scale(low, high, "gap area, m²"),
            make_log_scale(1, most, "gaps of at least this area"),
            note=note,
        )
        areas = np.geomspace(chart.x.low, chart.x.high, 160)
        chart.line(areas, mapped.at_least(areas), "predicted")
        chart.line(areas, reference.at_least(areas), "reference")
        charts.append(chart)
    return charts


def compute_cell_errors(tile_counts: TileCounts) -> tuple[Reals, Reals, int]:
    """Return the errors of the gap fraction of cells (map minus reference) and the number of cells.

    Returns:
        Median absolute error, (K,); mean error, (K,); number of cells. Errors are NaN without cells.
    """
    fractions, _ = tile_counts.cell_fractions()
    if not len(fractions):
        missing = np.full(len(tile_counts.thresholds), np.nan)
        return missing, missing, 0
    errors = fractions[..., 0] - fractions[..., 1]
    return np.median(np.abs(errors), axis=0), errors.mean(0), len(fractions)


def make_cell_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Return charts of the gap fraction of cells, map by reference."""
    fractions, _ = tile_counts.cell_fractions()
    errors, _, cells = compute_cell_errors(tile_counts)
    charts = []
    for k, row in enumerate(rows):
        chart = Chart(
            f"cell-{k}",
            format_title(row.threshold),
            f"{cells} cells; the median absolute error is {format_percent(float(errors[k]))} of the cell area.",
            make_percent_scale("gap fraction, reference"),
            make_percent_scale("gap fraction, map"),
            note=note_row(row),
        )
        chart.line([0, 1], [0, 1], "ideal")
        shown = slice(None, None, max(1, cells // MAX_CELLS))
        chart.points(fractions[shown, k, 1], fractions[shown, k, 0], "predicted cell", radius=3.6)
        charts.append(chart)
    return charts
