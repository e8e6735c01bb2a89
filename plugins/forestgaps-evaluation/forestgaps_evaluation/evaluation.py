"""The protocol: scores with their seeds, intervals, gap fractions and baselines, all together and by strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.bootstrap import FEW, block_sums, interval, resampled
from forestgaps_evaluation.scores import SCORES, best_trivial, gap_fraction, judged, scores, trivial_scores
from forestgaps_evaluation.strata import strata
from forestgaps_evaluation.tallies import Reals, Tallies

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
class Row:
    """One threshold on some tiles.

    Attributes:
        by: "all", "site", "slope" or "canopy cover"; `label` is the class.
        blocks: Spatial blocks that the tiles belong to.
        pixels: Valid ones.
        gap_fraction: Observed, 0 to 1.
        judged: False where it is under 1 % or over 95 %: shown, not judged.
        outside: The network was not trained for such a threshold.
        scores: By name.
        trivial: The better of all gap and all canopy, by score; `random` that of random guessing at the gap fraction.
    """

    by: str
    label: str
    tiles: int
    blocks: int
    pixels: int
    threshold: float
    gap_fraction: float
    judged: bool
    outside: bool
    scores: Mapping[str, Score]
    trivial: Mapping[str, float]
    random: Mapping[str, float]


@frozen
class Overall:
    """Mean IoU averaged over the thresholds that are judged, of some tiles; NaN if none is."""

    by: str
    label: str
    thresholds: tuple[float, ...]
    mean_iou: Score
    trivial: float
    random: float


@frozen
class Difference:
    """What a random split would have added to the mean IoU at a threshold: `mixed` less `spatial`, on the same tiles."""

    threshold: float
    judged: bool
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
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    heights: Mapping[str, Score]
    notes: tuple[str, ...] = ()
    leakage: Leakage | None = None


def evaluated(runs: Sequence[Tallies], *, resamples: int = RESAMPLES, notes: Sequence[str] = ()) -> Evaluation:
    """Judge one run, or several that differ in their seed, on one split.

    Raises:
        DataError: The runs were not counted on the same tiles at the same thresholds.
    """
    first = runs[0]
    for other in runs[1:]:
        check_same(first, other)
    rows: list[Row] = []
    overall: list[Overall] = []
    parts = [("all", "all", np.ones(len(first), bool)), *((s.by, s.label, s.tiles) for s in strata(first))]
    for by, label, tiles in parts:
        new, one = judge([run.picked(tiles) for run in runs], by, label, resamples)
        rows += new
        overall.append(one)
    blocks = rows[0].blocks
    said = list(notes)
    if blocks < FEW:
        wide = "so the intervals are wide" if blocks > 1 else "so there are no intervals"
        said.append(f"only {format_count(blocks, 'spatial block')}, {wide}")
    return Evaluation(
        runs=tuple({"run": run.run, "checkpoint": run.checkpoint, "seed": run.seed} for run in runs),
        split=first.split,
        resolution_m=first.resolution_m,
        resamples=resamples,
        rows=tuple(rows),
        overall=tuple(overall),
        heights=height_scores(runs, resamples),
        notes=tuple(said),
    )


def check_same(one: Tallies, other: Tallies) -> None:
    """Raises: DataError."""
    apart = None
    if not np.array_equal(one.thresholds, other.thresholds):
        apart = "at different thresholds"
    elif one.split != other.split or len(one) != len(other):
        numbers = " and ".join(format_count(len(tallies), f"{tallies.split} tile") for tallies in (one, other))
        apart = f"on different tiles ({numbers})"
    elif not np.array_equal(observed(one), observed(other)):
        apart = "on different tiles: their gap pixels differ"
    if apart:
        raise DataError(f"{one.run} and {other.run} were counted {apart}; evaluate them one at a time")


def observed(tallies: Tallies) -> NDArray[np.int64]:
    """Gap pixels and all pixels of each tile and threshold, (N, K, 2)."""
    return np.stack([tallies.counts[..., 0] + tallies.counts[..., 2], tallies.counts.sum(-1)], axis=-1)


def judge(runs: Sequence[Tallies], by: str, label: str, resamples: int) -> tuple[list[Row], Overall]:
    """The rows of some tiles, and their average over thresholds."""
    first = runs[0]
    sums = block_sums(np.stack([run.counts for run in runs], axis=1), first.blocks)  # (blocks, runs, K, 4)
    share = gap_fraction(sums[:, 0].sum(0))
    fair = judged(share)
    now, again = scores(sums.sum(0)), scores(resampled(sums, resamples))
    trivial = {name: best_trivial(share, name) for name in SCORES}
    random = trivial_scores(share)["random"]
    found = {name: summaries(now[name], again[name].mean(1), len(sums), bounds(name)) for name in SCORES}
    rows = [
        Row(
            by=by,
            label=label,
            tiles=len(first),
            blocks=len(sums),
            pixels=int(first.valid_pixels.sum()),
            threshold=float(threshold),
            gap_fraction=float(share[k]),
            judged=bool(fair[k]),
            outside=bool(first.outside[k]),
            scores={name: found[name][k] for name in SCORES},
            trivial={name: float(trivial[name][k]) for name in SCORES},
            random={name: float(random[name][k]) for name in SCORES},
        )
        for k, threshold in enumerate(first.thresholds)
    ]
    each, over = (averaged(values, fair) for values in (now["mean_iou"], again["mean_iou"].mean(1)))
    return rows, Overall(
        by=by,
        label=label,
        thresholds=tuple(first.thresholds[fair].tolist()),
        mean_iou=summaries(each[:, None], over[:, None], len(sums), bounds("mean_iou"))[0],
        trivial=float(averaged(trivial["mean_iou"], fair)),
        random=float(averaged(random["mean_iou"], fair)),
    )


def averaged(values: Reals, fair: NDArray[np.bool_]) -> Reals:
    """Mean over the last axis, where `fair`; NaN if nothing is."""
    if not fair.any():
        return np.full(values.shape[:-1], np.nan)
    mean: Reals = values[..., fair].mean(-1)
    return mean


def bounds(name: str) -> tuple[float, float]:
    """What a score can be; an interval ends there."""
    return (-1.0, 1.0) if name == "mcc" else (0.0, 1.0)


def summaries(each: Reals, again: Reals, blocks: int, bounds: tuple[float, float] = (-np.inf, np.inf)) -> list[Score]:
    """Of values (runs, K) and the resampled means over runs (resamples, K)."""
    mean = each.mean(0)
    low, high = (end.clip(*bounds) for end in interval(mean, again, blocks))
    spread = each.std(0, ddof=1) if len(each) > 1 else np.full(each.shape[1], np.nan)
    return [
        Score(float(mean[k]), float(spread[k]), float(low[k]), float(high[k]), tuple(each[:, k].tolist()))
        for k in range(each.shape[1])
    ]


def height_scores(runs: Sequence[Tallies], resamples: int) -> dict[str, Score]:
    """MAE, RMSE and bias of the canopy height (positive: too tall), meters, over all valid pixels."""
    errors = [run.height_errors for run in runs if run.height_errors is not None]
    if len(errors) < len(runs):
        return {}
    pixels = runs[0].valid_pixels.astype(np.float64)
    sums = block_sums(np.stack([np.column_stack([error, pixels]) for error in errors], axis=1), runs[0].blocks)
    now, again = (of_heights(values) for values in (sums.sum(0), resampled(sums, resamples)))
    limits = {"mae_m": (0.0, np.inf), "rmse_m": (0.0, np.inf), "bias_m": (-np.inf, np.inf)}
    return {name: summaries(now[name][:, None], again[name].mean(1)[:, None], len(sums), limits[name])[0] for name in now}


def of_heights(sums: Reals) -> dict[str, Reals]:
    """From sums (..., 4) of error, size, square and pixels."""
    with np.errstate(invalid="ignore"):
        bias, mae, square = (sums[..., n] / sums[..., 3] for n in range(3))
    return {"mae_m": mae, "rmse_m": np.sqrt(square), "bias_m": bias}


def differences(spatial: Tallies, mixed: Tallies, *, resamples: int = RESAMPLES) -> tuple[Difference, ...]:
    """Mean IoU of two networks on the same tiles, and the interval of their difference, by the same draws of blocks."""
    check_same(spatial, mixed)
    sums = block_sums(np.stack([spatial.counts, mixed.counts], axis=1), spatial.blocks)
    now, again = scores(sums.sum(0))["mean_iou"], scores(resampled(sums, resamples))["mean_iou"]
    low, high = interval(now[1] - now[0], again[:, 1] - again[:, 0], len(sums))
    fair = judged(gap_fraction(sums[:, 0].sum(0)))
    return tuple(
        Difference(
            threshold=float(level),
            judged=bool(fair[k]),
            spatial=float(now[0, k]),
            mixed=float(now[1, k]),
            difference=float(now[1, k] - now[0, k]),
            low=float(low[k]),
            high=float(high[k]),
        )
        for k, level in enumerate(spatial.thresholds)
    )
