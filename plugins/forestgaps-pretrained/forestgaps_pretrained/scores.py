"""Scores of a network on the held-out areas, with those of the classical filters and of constant maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.components import Source, Tile
from forestgaps_core.errors import DataError
from forestgaps_core.plugins.registry import Plugins

THRESHOLDS = (2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
FILTERS = ("opening", "progressive", "envelope")  # components of the kind `baseline`
EVALUATED_FRACTIONS = (0.01, 0.95)  # gap fractions; outside, a constant map has a high score


Plane = NDArray[np.float64]


def load_filters() -> Mapping[str, Callable[[Plane, float], Plane]]:
    """Return the ground filters by name, each a function (dsm, resolution_m) that returns the ground, with default settings."""
    plugins = Plugins.discover()
    return {name: plugins.component("baseline", f"forestgaps-baselines:{name}").load()().build() for name in FILTERS}


class Mapper(Protocol):
    """The part of a predictor that is used here."""

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float]) -> Tensor: ...


def read_test_areas(prepared: Path, names: Sequence[str], tile: int) -> Iterator[tuple[str, Tile]]:
    """Yield name and data of each test area of a prepared folder, cropped to the pixels with data.

    Args:
        tile: At least the longest side of an area, pixels, so that each area is one tile.
    """
    data = Plugins.discover().component("data", "rasters").load()(folder=prepared, tile_size=tile).build()
    source: Source = data.test
    if len(source) != len(names):
        raise DataError(f"{prepared} holds {len(source)} test tiles of {tile} pixels, expected one for each of {len(names)} areas")
    for index, name in enumerate(names):
        yield name, crop_to_data(source.read(index, 0))


def crop_to_data(tile: Tile) -> Tile:
    if not tile.valid.any():
        raise DataError("a test area has no data at all. Check the prepared folder")
    rows, columns = (torch.nonzero(tile.valid.any(axis)).flatten() for axis in (1, 0))
    area = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return Tile(dsm=tile.dsm[area], height=tile.height[area], valid=tile.valid[area])


def score_area(
    mapper: Mapper, name: str, tile: Tile, resolution_m: float, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, Any]]:
    """Return a row for each threshold: area, threshold_m, gap_fraction, and the mean IoU of the network, of each filter, and of
    the better constant map (`baseline`).
    """
    probability = mapper(tile.dsm[None, None], tile.valid[None, None], thresholds)[0].numpy()
    valid, height = tile.valid.numpy(), tile.height.numpy().astype(np.float64)
    dsm = np.where(valid, tile.dsm.numpy().astype(np.float64), np.nan)
    above = {label: np.where(valid, dsm - ground(dsm, resolution_m), 0.0) for label, ground in load_filters().items()}
    rows = []
    for plane, threshold in enumerate(thresholds):
        truth = height[valid] < threshold
        maps = {"network": probability[plane] > 0.5, **{label: heights < threshold for label, heights in above.items()}}
        found = {label: mean_iou(gap[valid], truth) for label, gap in maps.items()}
        baseline = max(mean_iou(np.full_like(truth, answer), truth) for answer in (False, True))
        rows.append({"area": name, "threshold_m": threshold, "gap_fraction": float(truth.mean()), **found, "baseline": baseline})
    return rows


def mean_iou(gap: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Mean of the IoU of gap and of canopy. The IoU of a class that neither map has is 1."""
    ious = []
    for one, other in ((gap, truth), (~gap, ~truth)):
        either = int((one | other).sum())
        ious.append(int((one & other).sum()) / either if either else 1.0)
    return sum(ious) / 2


def is_evaluated(row: Mapping[str, Any]) -> bool:
    return bool(EVALUATED_FRACTIONS[0] <= row["gap_fraction"] <= EVALUATED_FRACTIONS[1])


def find_best_filter(row: Mapping[str, Any]) -> tuple[str, float]:
    label = max(FILTERS, key=lambda label: float(row[label]))
    return label, float(row[label])


def write_scores(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")
