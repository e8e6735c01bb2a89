"""The protocol: scores with their seeds, intervals, gap fractions and baselines, all together and by strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.counting.tile_counts import Reals, TileCounts
from forestgaps_evaluation.protocol.bootstrap import FEW_BLOCKS, compute_interval, resample_blocks, sum_blocks
from forestgaps_evaluation.protocol.scores import (
    SCORES,
    choose_best_baseline,
    compute_baselines,
    compute_gap_fraction,
    compute_scores,
    is_evaluated,
)
from forestgaps_evaluation.protocol.strata import make_strata

RESAMPLES = 2000


@frozen
class Score:
    """One score of one or more runs (seeds).

    Attributes:
        mean: Mean over the runs.
        spread: Standard deviation over the runs (n - 1), NaN for one run. It measures the effect of the seed.
        low, high: 95 % interval of `mean` over spatial blocks. It measures the effect of the choice of places.
        each: Score of each run.
    """

    mean: float
    spread: float
    low: float
    high: float
    each: tuple[float, ...]


@frozen
class ThresholdScores:
    """The scores of one threshold on some tiles.

    Attributes:
        by: "all", "site", "slope" or "canopy cover"; `label` is the class.
        blocks: Number of spatial blocks of the tiles.
        pixels: Valid pixels.
        gap_fraction: Observed, 0 to 1.
        evaluated: False if the gap fraction is less than 1 % or more than 95 %.
        outside: The network was not trained for such a threshold.
        scores: Scores by name.
        baseline: The better of all gap and all canopy, by score. `random` is a random map with the same gap fraction.
    """

    by: str
    label: str
    tiles: int
    blocks: int
    pixels: int
    threshold: float
    gap_fraction: float
    evaluated: bool
    extrapolated: bool
    scores: Mapping[str, Score]
    baseline: Mapping[str, float]
    random: Mapping[str, float]


@frozen
class AverageScores:
    """Mean IoU of some tiles, averaged over the evaluated thresholds; NaN if there are none."""

    by: str
    label: str
    thresholds: tuple[float, ...]
    mean_iou: Score
    baseline: float
    random: float


@frozen
class Difference:
    """What a random split adds to the mean IoU at a threshold: `mixed` minus `spatial`, on the same tiles."""

    threshold: float
    evaluated: bool
    spatial: float
    mixed: float
    difference: float
    low: float
    high: float


@frozen
class Leakage:
    """The random split as a measure of leakage. These are not scores of the network."""

    run: str
    folder: str
    tiles: int
    blocks: int
    differences: tuple[Difference, ...]


@frozen
class Advantage:
    """Mean IoU of a network (mean over its runs) and of a baseline; `difference` is network minus baseline, with a 95 % interval.

    `threshold` is NaN for the average over the evaluated thresholds.
    """

    threshold: float
    evaluated: bool
    network: float
    baseline: float
    difference: float
    low: float
    high: float


@frozen
class BaselineScores:
    """A ground filter on the tiles of the network: its name, full name with version and settings, and scores."""

    name: str
    filter: Mapping[str, Any]
    rows: tuple[Advantage, ...]
    overall: Advantage


@frozen
class Evaluation:
    """The result of `forestgaps evaluate`.

    Attributes:
        runs: Facts of each run: run, checkpoint, seed.
        rows: Thresholds of all tiles, then of each stratum.
        overall: Averages of all tiles, then of each stratum.
        filters: Ground filters on the same tiles.
        heights: Errors of the canopy height, meters, by name; empty if not all networks map heights.
    """

    runs: tuple[Mapping[str, str | int], ...]
    split: str
    resolution_m: float
    resamples: int
    rows: tuple[ThresholdScores, ...]
    overall: tuple[AverageScores, ...]
    heights: Mapping[str, Score]
    notes: tuple[str, ...] = ()
    leakage: Leakage | None = None
    filters: tuple[BaselineScores, ...] = ()


def evaluate_counts(runs: Sequence[TileCounts], *, resamples: int = RESAMPLES, notes: Sequence[str] = ()) -> Evaluation:
    """Compute the evaluation of one run, or of several with different seeds, on one split.

    Raises:
        DataError: The runs have different tiles or thresholds.
    """
    first = runs[0]
    for other in runs[1:]:
        require_same_tiles(first, other)
    rows: list[ThresholdScores] = []
    overall: list[AverageScores] = []
    parts = [("all", "all", np.ones(len(first), bool)), *((s.by, s.label, s.tiles) for s in make_strata(first))]
    for by, label, tiles in parts:
        new, one = score_tiles([run.select(tiles) for run in runs], by, label, resamples)
        rows += new
        overall.append(one)
    blocks = rows[0].blocks
    all_notes = list(notes)
    if blocks < FEW_BLOCKS:
        wide = "so the intervals are wide" if blocks > 1 else "so there are no intervals"
        all_notes.append(f"only {format_count(blocks, 'spatial block')}, {wide}")
    return Evaluation(
        runs=tuple({"run": run.run, "checkpoint": run.checkpoint, "seed": run.seed} for run in runs),
        split=first.split,
        resolution_m=first.resolution_m,
        resamples=resamples,
        rows=tuple(rows),
        overall=tuple(overall),
        heights=score_heights(runs, resamples),
        notes=tuple(all_notes),
    )


def require_same_tiles(one: TileCounts, other: TileCounts) -> None:
    """Raises: DataError."""
    apart = None
    if not np.array_equal(one.thresholds, other.thresholds):
        apart = "at different thresholds"
    elif one.split != other.split or len(one) != len(other):
        numbers = " and ".join(format_count(len(tile_counts), f"{tile_counts.split} tile") for tile_counts in (one, other))
        apart = f"on different tiles ({numbers})"
    elif not np.array_equal(count_observed(one), count_observed(other)):
        apart = "on different tiles: their gap pixels differ"
    if apart:
        raise DataError(f"{one.run} and {other.run} were counted {apart}; evaluate them one at a time")


def count_observed(tile_counts: TileCounts) -> NDArray[np.int64]:
    """Return gap pixels and all pixels of each tile and threshold, (N, K, 2)."""
    return np.stack([tile_counts.counts[..., 0] + tile_counts.counts[..., 2], tile_counts.counts.sum(-1)], axis=-1)


def score_tiles(runs: Sequence[TileCounts], by: str, label: str, resamples: int) -> tuple[list[ThresholdScores], AverageScores]:
    """Return the scores of some tiles at each threshold, and their average."""
    first = runs[0]
    sums = sum_blocks(np.stack([run.counts for run in runs], axis=1), first.blocks)  # (blocks, runs, K, 4)
    fraction = compute_gap_fraction(sums[:, 0].sum(0))
    evaluated = is_evaluated(fraction)
    now, again = compute_scores(sums.sum(0)), compute_scores(resample_blocks(sums, resamples))
    baseline = {name: choose_best_baseline(fraction, name) for name in SCORES}
    random = compute_baselines(fraction)["random"]
    found = {name: summarize_scores(now[name], again[name].mean(1), len(sums), get_score_range(name)) for name in SCORES}
    rows = [
        ThresholdScores(
            by=by,
            label=label,
            tiles=len(first),
            blocks=len(sums),
            pixels=int(first.valid_pixels.sum()),
            threshold=float(threshold),
            gap_fraction=float(fraction[k]),
            evaluated=bool(evaluated[k]),
            extrapolated=bool(first.extrapolated[k]),
            scores={name: found[name][k] for name in SCORES},
            baseline={name: float(baseline[name][k]) for name in SCORES},
            random={name: float(random[name][k]) for name in SCORES},
        )
        for k, threshold in enumerate(first.thresholds)
    ]
    each, over = (average_evaluated(values, evaluated) for values in (now["mean_iou"], again["mean_iou"].mean(1)))
    return rows, AverageScores(
        by=by,
        label=label,
        thresholds=tuple(first.thresholds[evaluated].tolist()),
        mean_iou=summarize_scores(each[:, None], over[:, None], len(sums), get_score_range("mean_iou"))[0],
        baseline=float(average_evaluated(baseline["mean_iou"], evaluated)),
        random=float(average_evaluated(random["mean_iou"], evaluated)),
    )


def average_evaluated(values: Reals, evaluated: NDArray[np.bool_]) -> Reals:
    """Return the mean over the last axis, where `evaluated`; NaN if nothing is."""
    if not evaluated.any():
        return np.full(values.shape[:-1], np.nan)
    mean: Reals = values[..., evaluated].mean(-1)
    return mean


def get_score_range(name: str) -> tuple[float, float]:
    """Return the range of a score, to which intervals are clipped."""
    return (-1.0, 1.0) if name == "mcc" else (0.0, 1.0)


def summarize_scores(each: Reals, again: Reals, blocks: int, bounds: tuple[float, float] = (-np.inf, np.inf)) -> list[Score]:
    """Return scores from values (runs, K) and the resampled means over runs (resamples, K)."""
    mean = each.mean(0)
    low, high = (end.clip(*bounds) for end in compute_interval(mean, again, blocks))
    spread = each.std(0, ddof=1) if len(each) > 1 else np.full(each.shape[1], np.nan)
    return [
        Score(float(mean[k]), float(spread[k]), float(low[k]), float(high[k]), tuple(each[:, k].tolist()))
        for k in range(each.shape[1])
    ]


def score_heights(runs: Sequence[TileCounts], resamples: int) -> dict[str, Score]:
    """Return MAE, RMSE and bias of the canopy height (positive: too high), meters, over all valid pixels."""
    errors = [run.height_errors for run in runs if run.height_errors is not None]
    if len(errors) < len(runs):
        return {}
    pixels = runs[0].valid_pixels.astype(np.float64)
    sums = sum_blocks(np.stack([np.column_stack([error, pixels]) for error in errors], axis=1), runs[0].blocks)
    now, again = (compute_height_scores(values) for values in (sums.sum(0), resample_blocks(sums, resamples)))
    limits = {"mae_m": (0.0, np.inf), "rmse_m": (0.0, np.inf), "bias_m": (-np.inf, np.inf)}
    return {name: summarize_scores(now[name][:, None], again[name].mean(1)[:, None], len(sums), limits[name])[0] for name in now}


def compute_height_scores(sums: Reals) -> dict[str, Reals]:
    """Return them from sums (..., 4) of error, absolute error, squared error and pixels."""
    with np.errstate(invalid="ignore"):
        bias, mae, square = (sums[..., n] / sums[..., 3] for n in range(3))
    return {"mae_m": mae, "rmse_m": np.sqrt(square), "bias_m": bias}
