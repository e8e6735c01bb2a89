"""The figures of a page about a run, from its tallies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.charts import Chart, powers, scores, shares, spread
from forestgaps_evaluation.evaluation import Row
from forestgaps_evaluation.rendering import percent, score
from forestgaps_evaluation.scores import scores as scores_of
from forestgaps_evaluation.sizes import Sizes
from forestgaps_evaluation.tallies import CUTS, Tallies

Reals = NDArray[np.float64]
MOST_CELLS = 1500  # drawn in one chart; of more, every second, third ...


def below(threshold: float) -> str:
    return f"below {threshold:g} m"


def aside(row: Row) -> str:
    """A word beside the title of what is shown and not judged."""
    if not row.judged:
        return "one-sided"
    return "not trained for" if row.outside else ""


def score_chart(rows: Sequence[Row]) -> Chart:
    """Mean IoU with its interval over the thresholds, beside the baseline."""
    levels = [row.threshold for row in rows]
    values = [row.scores["mean_iou"] for row in rows]
    listed = "; ".join(
        f"{row.threshold:g} m {score(row.scores['mean_iou'].mean)} (trivial {score(row.trivial['mean_iou'])})" for row in rows
    )
    chart = Chart(
        "scores", "Mean IoU", f"Mean IoU by threshold: {listed}.", spread(levels, "threshold, m"), scores("mean IoU"), 440, 280
    )
    trivial = [row.trivial["mean_iou"] for row in rows]
    chart.line(levels, trivial, "trivial")
    chart.points(levels, trivial, "trivial")
    chart.line(levels, [value.mean for value in values], "predicted")
    chart.ranges(levels, [value.low for value in values], [value.high for value in values], "predicted")
    chart.points(levels, [value.mean for value in values], "predicted", radius=4)
    return chart


def share_chart(rows: Sequence[Row], mapped: Sequence[float]) -> Chart:
    """Share of the area that is gap, in map and reference."""
    levels = [row.threshold for row in rows]
    listed = "; ".join(
        f"{row.threshold:g} m {percent(share)} mapped, {percent(row.gap_fraction)} in the reference"
        for row, share in zip(rows, mapped, strict=True)
    )
    chart = Chart(
        "shares",
        "Gap fraction",
        f"Gap fraction by threshold: {listed}.",
        spread(levels, "threshold, m"),
        shares("share of the area"),
        440,
        280,
    )
    observed = [row.gap_fraction for row in rows]
    chart.line(levels, mapped, "predicted")
    chart.line(levels, observed, "reference")
    chart.points(levels, observed, "reference", radius=4)
    chart.points(levels, mapped, "predicted")
    return chart


def cut_counts(tallies: Tallies) -> NDArray[np.int64]:
    """(K, 101, 4) tp, fp, fn, tn if pixels above each cut of probability were called gap."""
    total = tallies.counts.sum(0)
    gap, canopy = total[:, 0] + total[:, 2], total[:, 1] + total[:, 3]
    tp, fp = tallies.curve[..., 0], tallies.curve[..., 1]
    counts: NDArray[np.int64] = np.stack([tp, fp, gap[:, None] - tp, canopy[:, None] - fp], axis=-1)
    return counts


def precision_charts(tallies: Tallies, rows: Sequence[Row]) -> list[Chart]:
    """Precision over recall, with the cut at one half marked."""
    found = scores_of(cut_counts(tallies))
    made = []
    for k, row in enumerate(rows):
        precision, recall = found["gap_precision"][k], found["gap_recall"][k]
        now = row.scores["gap_precision"].mean, row.scores["gap_recall"].mean
        words = (
            f"At a cut of one half, precision {score(now[0])} and recall {score(now[1])}; "
            f"precision without skill {score(row.gap_fraction)}."
        )
        chart = Chart(f"precision-{k}", below(row.threshold), words, shares("recall"), shares("precision"), note=aside(row))
        chart.line([0, 1], [row.gap_fraction] * 2, "trivial")
        chart.line(recall, precision, "predicted")
        chart.points([now[1]], [now[0]], "predicted", radius=4.5)
        made.append(chart)
    return made


def cut_charts(tallies: Tallies, rows: Sequence[Row]) -> list[Chart]:
    """Mean IoU over the cut of probability."""
    found = scores_of(cut_counts(tallies))["mean_iou"]
    cuts = np.linspace(0, 1, CUTS)
    made = []
    for k, row in enumerate(rows):
        known = np.isfinite(found[k])
        best = int(np.nanargmax(found[k])) if known.any() else 0
        words = (
            f"Mean IoU {score(found[k, CUTS // 2])} at a cut of one half; highest, {score(found[k, best])}, at {cuts[best]:.2f}."
        )
        chart = Chart(f"cut-{k}", below(row.threshold), words, scores("cut of probability"), scores("mean IoU"), note=aside(row))
        chart.upright(0.5, "cut")
        chart.line([0, 1], [row.trivial["mean_iou"]] * 2, "trivial")
        chart.line(cuts, found[k], "predicted")
        chart.points([cuts[best]], [found[k, best]], "predicted", radius=4.5)
        made.append(chart)
    return made


def calibration_errors(tallies: Tallies) -> Reals:
    """(K,) distance between probability and frequency of gaps, averaged over pixels; NaN without any.

    Source: Naeini et al. 2015, expected calibration error, doi 10.1609/aaai.v29i1.9602; on twenty bins of equal width.
    """
    pixels, probability, observed = np.moveaxis(tallies.reliability, -1, 0)
    with np.errstate(invalid="ignore"):
        error: Reals = np.abs(probability - observed).sum(1) / pixels.sum(1)
    return error


def reliability_charts(tallies: Tallies, rows: Sequence[Row]) -> list[Chart]:
    """Frequency of gaps over the probability given to them."""
    errors = calibration_errors(tallies)
    made = []
    for k, row in enumerate(rows):
        pixels, probability, observed = tallies.reliability[k].T
        few = pixels < max(1e-4 * pixels.sum(), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            given, seen = (np.where(few, np.nan, part / pixels) for part in (probability, observed))
        words = f"Probabilities are off by {percent(float(errors[k]))} on average over the pixels."
        chart = Chart(
            f"reliability-{k}",
            below(row.threshold),
            words,
            shares("probability given"),
            shares("gaps among them"),
            note=f"off by {percent(float(errors[k]))}",
        )
        chart.line([0, 1], [0, 1], "ideal")
        chart.line(given, seen, "predicted")
        weight = np.sqrt(pixels / max(pixels.max(), 1))
        for x, y, size in zip(given, seen, weight, strict=True):
            chart.points([x], [y], "predicted", radius=2.4 + 4 * float(size))
        made.append(chart)
    return made


def size_charts(sizes: Sequence[tuple[Sizes, Sizes]], rows: Sequence[Row]) -> list[Chart]:
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
            below(row.threshold),
            words,
            powers(low, high, "gap area, m²"),
            powers(1, most, "gaps at least so large"),
            note=note,
        )
        at = np.geomspace(chart.x.low, chart.x.high, 160)
        chart.line(at, mapped.at_least(at), "predicted")
        chart.line(at, reference.at_least(at), "reference")
        made.append(chart)
    return made


def cell_errors(tallies: Tallies) -> tuple[Reals, Reals, int]:
    """(K,) median distance and mean difference (map less reference) of the gap fraction of cells, and how many cells there are."""
    found, _ = tallies.cell_shares()
    if not len(found):
        nothing = np.full(len(tallies.thresholds), np.nan)
        return nothing, nothing, 0
    apart = found[..., 0] - found[..., 1]
    return np.median(np.abs(apart), axis=0), apart.mean(0), len(found)


def cell_charts(tallies: Tallies, rows: Sequence[Row]) -> list[Chart]:
    """Gap fraction of cells, mapped over observed."""
    found, _ = tallies.cell_shares()
    apart, _, cells = cell_errors(tallies)
    made = []
    for k, row in enumerate(rows):
        words = f"{cells} cells; half of them are off by {percent(float(apart[k]))} of their area or less."
        chart = Chart(
            f"cell-{k}",
            below(row.threshold),
            words,
            shares("gap fraction, reference"),
            shares("gap fraction, map"),
            note=aside(row),
        )
        chart.line([0, 1], [0, 1], "ideal")
        some = slice(None, None, max(1, cells // MOST_CELLS))
        chart.points(found[some, k, 1], found[some, k, 0], "predicted cell", radius=3.6)
        made.append(chart)
    return made
