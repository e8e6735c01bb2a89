"""Two maps of the same tiles: differences of the mean IoU, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forestgaps_evaluation.counting.tile_counts import Reals, TileCounts
from forestgaps_evaluation.protocol.bootstrap import compute_interval, resample_blocks, sum_blocks
from forestgaps_evaluation.protocol.evaluation import RESAMPLES, Advantage, average_evaluated, require_same_tiles
from forestgaps_evaluation.protocol.scores import compute_gap_fraction, compute_scores, is_evaluated


def compare_mean_iou(
    runs: Sequence[TileCounts], other: TileCounts, *, resamples: int = RESAMPLES
) -> tuple[tuple[Advantage, ...], Advantage]:
    """Compare the mean IoU of one or more runs with that of another map, at each threshold and on average.

    Both use the same resamples of the blocks, so the interval is that of the difference.

    Raises:
        DataError: They were counted on different tiles.
    """
    for run in runs:
        require_same_tiles(other, run)
    sums = sum_blocks(np.stack([run.counts for run in (*runs, other)], axis=1), other.blocks)
    now, again = compute_scores(sums.sum(0))["mean_iou"], compute_scores(resample_blocks(sums, resamples))["mean_iou"]
    evaluated = is_evaluated(compute_gap_fraction(sums[:, 0].sum(0)))
    rows = compare_scores(now, again, other.thresholds, evaluated, len(sums))
    means = [average_evaluated(values, evaluated)[..., None] for values in (now, again)]
    (overall,) = compare_scores(means[0], means[1], np.array([np.nan]), np.array([evaluated.any()]), len(sums))
    return rows, overall


def compare_scores(now: Reals, again: Reals, thresholds: Reals, evaluated: NDArray[np.bool_], blocks: int) -> tuple[Advantage, ...]:
    """Compare scores (maps, K) and their resamples (resamples, maps, K); the last map is the baseline of the others."""
    network, baseline = now[:-1].mean(0), now[-1]
    low, high = compute_interval(network - baseline, again[:, :-1].mean(1) - again[:, -1], blocks)
    return tuple(
        Advantage(
            threshold=float(threshold),
            evaluated=bool(evaluated[k]),
            network=float(network[k]),
            baseline=float(baseline[k]),
            difference=float(network[k] - baseline[k]),
            low=float(low[k]),
            high=float(high[k]),
        )
        for k, threshold in enumerate(thresholds)
    )
