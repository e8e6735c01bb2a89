"""The figures of a page about a run, from its tile_counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.counting.gap_sizes import GapSizes
from forestgaps_evaluation.counting.tile_counts import CUT_COUNT, TileCounts
from forestgaps_evaluation.pages.charts import Chart, make_log_scale, make_percent_scale, make_score_scale, make_value_scale
from forestgaps_evaluation.pages.rendering import format_percent, format_score
from forestgaps_evaluation.protocol.evaluation import ThresholdScores
from forestgaps_evaluation.protocol.scores import compute_scores as scores_of

Reals = NDArray[np.float64]
MAX_CELLS = 1500  # drawn in one chart; of more, every second, third ...


def format_title(threshold: float) -> str:
    return f"below {threshold:g} m"


def note_row(row: ThresholdScores) -> str:
    """A word beside the title of what is shown and not evaluated."""
    if not row.evaluated:
        return "extreme"
    return "not trained for" if row.extrapolated else ""


def make_score_chart(rows: Sequence[ThresholdScores]) -> Chart:
    """Mean IoU with its interval over the thresholds, beside the baseline."""
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
    """Share of the area that is gap, in map and reference."""
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


def count_by_cut(tile_counts: TileCounts) -> NDArray[np.int64]:
    """(K, 101, 4) tp, fp, fn, tn if pixels above each cut of probability were called gap."""
    total = tile_counts.counts.sum(0)
    gap, canopy = total[:, 0] + total[:, 2], total[:, 1] + total[:, 3]
    tp, fp = tile_counts.curve[..., 0], tile_counts.curve[..., 1]
    counts: NDArray[np.int64] = np.stack([tp, fp, gap[:, None] - tp, canopy[:, None] - fp], axis=-1)
    return counts


def make_precision_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Precision over recall, with the cut at one half marked."""
    found = scores_of(count_by_cut(tile_counts))
    made = []
    for k, row in enumerate(rows):
        precision, recall = found["gap_precision"][k], found["gap_recall"][k]
        now = row.scores["gap_precision"].mean, row.scores["gap_recall"].mean
        words = (
            f"At a cut of one half, precision {format_score(now[0])} and recall {format_score(now[1])}; "
            f"precision without skill {format_score(row.gap_fraction)}."
        )
        chart = Chart(
            f"precision-{k}",
            format_title(row.threshold),
            words,
            make_percent_scale("recall"),
            make_percent_scale("precision"),
            note=note_row(row),
        )
        chart.line([0, 1], [row.gap_fraction] * 2, "baseline")
        chart.line(recall, precision, "predicted")
        chart.points([now[1]], [now[0]], "predicted", radius=4.5)
        made.append(chart)
    return made


def make_cut_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Mean IoU over the cut of probability."""
    found = scores_of(count_by_cut(tile_counts))["mean_iou"]
    cuts = np.linspace(0, 1, CUT_COUNT)
    made = []
    for k, row in enumerate(rows):
        known = np.isfinite(found[k])
        best = int(np.nanargmax(found[k])) if known.any() else 0
        half, highest = format_score(found[k, CUT_COUNT // 2]), format_score(found[k, best])
        words = f"Mean IoU {half} at a cut of one half; highest, {highest}, at {cuts[best]:.2f}."
        chart = Chart(
            f"cut-{k}",
            format_title(row.threshold),
            words,
            make_score_scale("cut of probability"),
            make_score_scale("mean IoU"),
            note=note_row(row),
        )
        chart.upright(0.5, "cut")
        chart.line([0, 1], [row.baseline["mean_iou"]] * 2, "baseline")
        chart.line(cuts, found[k], "predicted")
        chart.points([cuts[best]], [found[k, best]], "predicted", radius=4.5)
        made.append(chart)
    return made


def compute_calibration_errors(tile_counts: TileCounts) -> Reals:
    """(K,) distance between probability and frequency of gaps, averaged over pixels; NaN without any.

    Source: Naeini et al. 2015, expected calibration error, doi 10.1609/aaai.v29i1.9602; on twenty bins of equal width.
    """
    pixels, probability, observed = np.moveaxis(tile_counts.reliability, -1, 0)
    with np.errstate(invalid="ignore"):
        error: Reals = np.abs(probability - observed).sum(1) / pixels.sum(1)
    return error


def make_reliability_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Frequency of gaps over the probability given to them."""
    errors = compute_calibration_errors(tile_counts)
    made = []
    for k, row in enumerate(rows):
        pixels, probability, observed = tile_counts.reliability[k].T
        few = pixels < max(1e-4 * pixels.sum(), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            given, seen = (np.where(few, np.nan, part / pixels) for part in (probability, observed))
        words = f"Probabilities are off by {format_percent(float(errors[k]))} on average over the pixels."
        chart = Chart(
            f"reliability-{k}",
            format_title(row.threshold),
            words,
            make_percent_scale("probability given"),
            make_percent_scale("gaps among them"),
            note=f"off by {format_percent(float(errors[k]))}",
        )
        chart.line([0, 1], [0, 1], "ideal")
        chart.line(given, seen, "predicted")
        weight = np.sqrt(pixels / max(pixels.max(), 1))
        for x, y, size in zip(given, seen, weight, strict=True):
            chart.points([x], [y], "predicted", radius=2.4 + 4 * float(size))
        made.append(chart)
    return made


def make_size_charts(sizes: Sequence[tuple[GapSizes, GapSizes]], rows: Sequence[ThresholdScores]) -> list[Chart]:
    """How many gaps are at least so large, in map and reference."""
    every = [part for pair in sizes for part in pair if len(part)]
    low = min((float(part.areas_m2[0]) for part in every), default=1.0)
    high = max((part.largest_m2 for part in every), default=10.0)
    most = max((len(part) for part in every), default=2)
    made = []
    for k, (row, (mapped, reference)) in enumerate(zip(rows, sizes, strict=True)):
        words = f"{format_count(len(mapped), 'gap')} in the map, {len(reference):,} in the reference."
        note = f"{len(mapped)} mapped, {len(reference)} real"
        chart = Chart(
            f"size-{k}",
            format_title(row.threshold),
            words,
            make_log_scale(low, high, "gap area, m²"),
            make_log_scale(1, most, "gaps at least so large"),
            note=note,
        )
        at = np.geomspace(chart.x.low, chart.x.high, 160)
        chart.line(at, mapped.at_least(at), "predicted")
        chart.line(at, reference.at_least(at), "reference")
        made.append(chart)
    return made


def compute_cell_errors(tile_counts: TileCounts) -> tuple[Reals, Reals, int]:
    """(K,) median distance and mean difference (map less reference) of the gap fraction of cells, and how many cells there are."""
    found, _ = tile_counts.cell_fractions()
    if not len(found):
        nothing = np.full(len(tile_counts.thresholds), np.nan)
        return nothing, nothing, 0
    apart = found[..., 0] - found[..., 1]
    return np.median(np.abs(apart), axis=0), apart.mean(0), len(found)


def make_cell_charts(tile_counts: TileCounts, rows: Sequence[ThresholdScores]) -> list[Chart]:
    """Gap fraction of cells, mapped over observed."""
    found, _ = tile_counts.cell_fractions()
    apart, _, cells = compute_cell_errors(tile_counts)
    made = []
    for k, row in enumerate(rows):
        words = f"{cells} cells; half of them are off by {format_percent(float(apart[k]))} of their area or less."
        chart = Chart(
            f"cell-{k}",
            format_title(row.threshold),
            words,
            make_percent_scale("gap fraction, reference"),
            make_percent_scale("gap fraction, map"),
            note=note_row(row),
        )
        chart.line([0, 1], [0, 1], "ideal")
        some = slice(None, None, max(1, cells // MAX_CELLS))
        chart.points(found[some, k, 1], found[some, k, 0], "predicted cell", radius=3.6)
        made.append(chart)
    return made
