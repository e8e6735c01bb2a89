"""The protocol: scores with their seeds, intervals, gap fractions and baselines, all together and by strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.counting.tile_counts import Reals, TileCounts
from forestgaps_evaluation.protocol.bootstrap import FEW_BLOCKS, compute_interval, resample_blocks, sum_blocks
from forestgaps_evaluation.protocol.scores import (
    SCORES,
    best_baseline,
    compute_baselines,
    compute_gap_fraction,
    compute_scores,
    is_evaluated,
)
from forestgaps_evaluation.protocol.strata import make_strata

RESAMPLES = 2000


@frozen
class Score:
    """One score of one or several runs (seeds).

    Attributes:
        mean: Over the runs.
        spread: Standard deviation over the runs (n - 1), NaN for one run: what the seed does to it.
        low: Lower end of the 95 % interval of `mean` over spatial blocks: what the choice of places does to it; `high` the upper.
        each: Of each run.
    """

    mean: float
    spread: float
    low: float
    high: float
    each: tuple[float, ...]


@frozen
class ThresholdScores:
    """One threshold on some tiles.

    Attributes:
        by: "all", "site", "slope" or "canopy cover"; `label` is the class.
        blocks: Spatial blocks that the tiles belong to.
        pixels: Valid ones.
        gap_fraction: Observed, 0 to 1.
        evaluated: False where it is under 1 % or over 95 %: shown, not evaluated.
        outside: The network was not trained for such a threshold.
        scores: By name.
        baseline: The better of all gap and all canopy, by score; `random` that of random guessing at the gap fraction.
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
    """Mean IoU averaged over the thresholds that are evaluated, of some tiles; NaN if none is."""

    by: str
    label: str
    thresholds: tuple[float, ...]
    mean_iou: Score
    baseline: float
    random: float


@frozen
class Difference:
    """What a random split would have added to the mean IoU at a threshold: `mixed` less `spatial`, on the same tiles."""

    threshold: float
    evaluated: bool
    spatial: float
    mixed: float
    difference: float
    low: float
    high: float


@frozen
class Leakage:
    """The random split as a measure of leakage. None of it is a score of the network."""

    run: str
    folder: str
    tiles: int
    blocks: int
    differences: tuple[Difference, ...]


@frozen
class Evaluation:
    """All that `forestgaps evaluate` says.

    Attributes:
        runs: Facts of each run: run, checkpoint, seed.
        rows: Thresholds of all tiles, then of each stratum.
        overall: Of all tiles, then of each stratum.
        heights: Errors of the canopy height, meters, by name; empty where not all networks map heights.
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


def evaluate_counts(runs: Sequence[TileCounts], *, resamples: int = RESAMPLES, notes: Sequence[str] = ()) -> Evaluation:
    """Evaluate one run, or several that differ in their seed, on one split.

    Raises:
        DataError: The runs were not counted on the same tiles at the same thresholds.
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
    said = list(notes)
    if blocks < FEW_BLOCKS:
        wide = "so the intervals are wide" if blocks > 1 else "so there are no intervals"
        said.append(f"only {format_count(blocks, 'spatial block')}, {wide}")
    return Evaluation(
        runs=tuple({"run": run.run, "checkpoint": run.checkpoint, "seed": run.seed} for run in runs),
        split=first.split,
        resolution_m=first.resolution_m,
        resamples=resamples,
        rows=tuple(rows),
        overall=tuple(overall),
        heights=score_heights(runs, resamples),
        notes=tuple(said),
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
    """Gap pixels and all pixels of each tile and threshold, (N, K, 2)."""
    return np.stack([tile_counts.counts[..., 0] + tile_counts.counts[..., 2], tile_counts.counts.sum(-1)], axis=-1)


def score_tiles(runs: Sequence[TileCounts], by: str, label: str, resamples: int) -> tuple[list[ThresholdScores], AverageScores]:
    """The rows of some tiles, and their average over thresholds."""
    first = runs[0]
    sums = sum_blocks(np.stack([run.counts for run in runs], axis=1), first.blocks)  # (blocks, runs, K, 4)
    fraction = compute_gap_fraction(sums[:, 0].sum(0))
    evaluated = is_evaluated(fraction)
    now, again = compute_scores(sums.sum(0)), compute_scores(resample_blocks(sums, resamples))
    baseline = {name: best_baseline(fraction, name) for name in SCORES}
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
    """Mean over the last axis, where `evaluated`; NaN if nothing is."""
    if not evaluated.any():
        return np.full(values.shape[:-1], np.nan)
    mean: Reals = values[..., evaluated].mean(-1)
    return mean


def get_score_range(name: str) -> tuple[float, float]:
    """What a score can be; an interval ends there."""
    return (-1.0, 1.0) if name == "mcc" else (0.0, 1.0)


def summarize_scores(each: Reals, again: Reals, blocks: int, bounds: tuple[float, float] = (-np.inf, np.inf)) -> list[Score]:
    """Of values (runs, K) and the resampled means over runs (resamples, K)."""
    mean = each.mean(0)
    low, high = (end.clip(*bounds) for end in compute_interval(mean, again, blocks))
    spread = each.std(0, ddof=1) if len(each) > 1 else np.full(each.shape[1], np.nan)
    return [
        Score(float(mean[k]), float(spread[k]), float(low[k]), float(high[k]), tuple(each[:, k].tolist()))
        for k in range(each.shape[1])
    ]


def score_heights(runs: Sequence[TileCounts], resamples: int) -> dict[str, Score]:
    """MAE, RMSE and bias of the canopy height (positive: too tall), meters, over all valid pixels."""
    errors = [run.height_errors for run in runs if run.height_errors is not None]
    if len(errors) < len(runs):
        return {}
    pixels = runs[0].valid_pixels.astype(np.float64)
    sums = sum_blocks(np.stack([np.column_stack([error, pixels]) for error in errors], axis=1), runs[0].blocks)
    now, again = (compute_height_scores(values) for values in (sums.sum(0), resample_blocks(sums, resamples)))
    limits = {"mae_m": (0.0, np.inf), "rmse_m": (0.0, np.inf), "bias_m": (-np.inf, np.inf)}
    return {name: summarize_scores(now[name][:, None], again[name].mean(1)[:, None], len(sums), limits[name])[0] for name in now}


def compute_height_scores(sums: Reals) -> dict[str, Reals]:
    """From sums (..., 4) of error, size, square and pixels."""
    with np.errstate(invalid="ignore"):
        bias, mae, square = (sums[..., n] / sums[..., 3] for n in range(3))
    return {"mae_m": mae, "rmse_m": np.sqrt(square), "bias_m": bias}


def compare_mean_iou(spatial: TileCounts, mixed: TileCounts, *, resamples: int = RESAMPLES) -> tuple[Difference, ...]:
    """Mean IoU of two networks on the same tiles, and the interval of their difference, by the same draws of blocks."""
    require_same_tiles(spatial, mixed)
    sums = sum_blocks(np.stack([spatial.counts, mixed.counts], axis=1), spatial.blocks)
    now, again = compute_scores(sums.sum(0))["mean_iou"], compute_scores(resample_blocks(sums, resamples))["mean_iou"]
    low, high = compute_interval(now[1] - now[0], again[:, 1] - again[:, 0], len(sums))
    evaluated = is_evaluated(compute_gap_fraction(sums[:, 0].sum(0)))
    return tuple(
        Difference(
            threshold=float(level),
            evaluated=bool(evaluated[k]),
            spatial=float(now[0, k]),
            mixed=float(now[1, k]),
            difference=float(now[1, k] - now[0, k]),
            low=float(low[k]),
            high=float(high[k]),
        )
        for k, level in enumerate(spatial.thresholds)
    )
