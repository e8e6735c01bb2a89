"""A network beside maps that need no training, on the same tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from forestgaps_core.components import Tiles
from forestgaps_core.config.command_components import ChosenComponent
from forestgaps_evaluation.counting.baseline import BaselineMap
from forestgaps_evaluation.counting.network import TrainedNetwork
from forestgaps_evaluation.counting.tile_counts import TileCounts, count_split
from forestgaps_evaluation.protocol.comparison import compare_mean_iou
from forestgaps_evaluation.protocol.evaluation import BaselineScores


def count_baseline(
    network: TrainedNetwork,
    chosen: ChosenComponent,
    split: str,
    thresholds: Sequence[float],
    *,
    progress: Callable[[Iterable[Tiles]], Iterable[Tiles]] = iter,
) -> TileCounts:
    """Count the map of a ground filter on the data on which a network is evaluated."""
    shared = {part.name: getattr(network, part.name) for part in attrs.fields(TrainedNetwork)}
    baseline = BaselineMap(
        **{**shared, "run": chosen.component.name}, ground_filter=chosen.build(), words=chosen.words, split=split
    )
    return count_split(baseline, split, thresholds, progress=progress)


def score_baseline(runs: Sequence[TileCounts], baseline: TileCounts, chosen: ChosenComponent, *, resamples: int) -> BaselineScores:
    """Compare one or more runs with the map of a ground filter.

    Raises:
        DataError: They were counted on different tiles.
    """
    rows, overall = compare_mean_iou(runs, baseline, resamples=resamples)
    return BaselineScores(name=baseline.run, filter=chosen.describe(), rows=rows, overall=overall)
