"""One pass of a trained network over a split, as counts: the basis of scores, curves, intervals and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.components import Tiles
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.training.batch_iteration import move_to_device
from forestgaps_evaluation.counting import batch_counts as counting
from forestgaps_evaluation.counting.locations import list_blocks, list_sites
from forestgaps_evaluation.counting.network import TrainedNetwork, open_network
from forestgaps_evaluation.counting.terrain import compute_slope_deg

PROTOCOL_THRESHOLDS_M = (2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # meters
DECISION_THRESHOLD_COUNT = counting.PROBABILITY_CLASSES + 1
RELIABILITY_BINS = 20  # of the reliability diagram
CELL_M = 100.0

Counts = NDArray[np.int64]
Reals = NDArray[np.float64]


@frozen(eq=False, kw_only=True)
class TileCounts:
    """Counts of N tiles at K thresholds, with C cells per tile. Invalid pixels are not counted. Gap is positive.

    Attributes:
        run: Name of the evaluated run. `checkpoint` is the file of its weights.
        split: train, validation or test.
        seed: Seed of the run.
        resolution_m: Pixel size of the data, meters.
        tile_px: Height and width of a tile, pixels.
        trained: Validated thresholds of the network, meters, ascending.
        thresholds: (K,) meters, ascending.
        index: (N,) number of the tile in its source, `getattr(data, split)`.
        blocks: (N) name of the spatial block of each tile.
        sites: (N) name of the site of each tile; empty if the data have no sites.
        counts: (N, K, 4) int64, pixels: tp, fp, fn, tn. Predicted gap is where the probability is above 0.5.
        slope_deg: (N,) mean slope of the ground, NaN if unknown (see `terrain`).
        canopy_cover: (N,) fraction of valid pixels with canopy of at least 2 m, 0 to 1; NaN without valid pixels.
        reliability: (K, 20, 3), by bins of the probability p, n/20 < p <= (n+1)/20 (0 is in the first bin): pixels, sum of p,
            observed gap pixels. The sum is rounded to 2^-20 per pixel, so that sums are exact.
        curve: (K, 101, 2) int64: tp and fp for the decision thresholds 0, 0.01, 0.02 ... 1. At 0, all pixels are gap.
        cell_m: Height and width of the cells, meters: tiles are divided evenly into cells of about 100 m. A tile smaller than that
            is one cell. Pixels at the lower and right edge that do not fill a cell are left out.
        cell_pixels: (N, C) int64, valid pixels of each cell.
        cells: (N, C, K, 2) int64, gap pixels of each cell: predicted, observed.
        height_errors: (N, 3) sums over the valid pixels of a tile: error of the canopy height (predicted - observed, meters), its
            absolute value, its square. None if the network does not map heights.
    """

    run: str
    checkpoint: str
    split: str
    seed: int
    resolution_m: float
    tile_px: tuple[int, int]
    trained: tuple[float, ...]
    thresholds: Reals
    index: Counts
    blocks: tuple[str, ...]
    counts: Counts
    slope_deg: Reals
    canopy_cover: Reals
    reliability: Reals
    curve: Counts
    cell_m: tuple[float, float]
    cell_pixels: Counts
    cells: Counts
    height_errors: Reals | None = None
    sites: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def valid_pixels(self) -> Counts:
        """(N,) valid pixels of each tile."""
        pixels: Counts = self.counts[:, 0].sum(1)
        return pixels

    @property
    def extrapolated(self) -> NDArray[np.bool_]:
        """(K,) whether a threshold is below or above the validated thresholds of the network."""
        return (self.thresholds < self.trained[0]) | (self.thresholds > self.trained[-1])

    def cell_fractions(self, minimum_valid: float = 0.5) -> tuple[Reals, Counts]:
        """Return predicted and observed gap fraction of each cell, (M, K, 2), 0 to 1, and its tile's position in `index`, (M,).

        Cells whose valid fraction is smaller than `minimum_valid` are left out.
        """
        area = self.cell_m[0] * self.cell_m[1] / self.resolution_m**2
        tile, cell = np.nonzero((self.cell_pixels > 0) & (self.cell_pixels >= minimum_valid * area))
        return self.cells[tile, cell] / self.cell_pixels[tile, cell, None, None], tile

    def select(self, tiles: NDArray[Any]) -> TileCounts:
        """Return the counts of some tiles, by position or mask. `reliability` and `curve`, which are not per tile, become 0."""
        whole = np.arange(len(self))[tiles]
        by_tile: dict[str, Any] = {name: getattr(self, name)[whole] for name in BY_TILE}
        return evolve(
            self,
            **by_tile,
            blocks=tuple(self.blocks[n] for n in whole),
            sites=tuple(self.sites[n] for n in whole) if self.sites else (),
            height_errors=None if self.height_errors is None else self.height_errors[whole],
            reliability=np.zeros_like(self.reliability),
            curve=np.zeros_like(self.curve),
        )


BY_TILE = ("index", "counts", "slope_deg", "canopy_cover", "cell_pixels", "cells")


def format_thresholds(thresholds: Iterable[float]) -> str:
    return ", ".join(f"{threshold:g}" for threshold in thresholds) + " m"


def count_tiles(
    run: Path | str,
    split: str = "test",
    thresholds: Sequence[float] = PROTOCOL_THRESHOLDS_M,
    *,
    device: str = "auto",
    checkpoint: str | None = None,
    plugins: Plugins | None = None,
) -> TileCounts:
    """Evaluate a network once on a split of its own data, and count.

    Args:
        run: A run folder or a checkpoint file.
        thresholds: Meters, in any order. A network accepts any height; `TileCounts.extrapolated` marks those
            that it was not trained for.
        device: auto, cpu, cuda or mps.
        checkpoint: Name of the checkpoint; by default the best, or the last if there is no best.

    Raises:
        ConfigError: The thresholds or the split are invalid.
        CheckpointError: There is no trained network.
        DataError: The split is empty.
    """
    return count_split(open_network(run, device=device, checkpoint=checkpoint, plugins=plugins), split, thresholds)


def count_split(
    trained: TrainedNetwork,
    split: str = "test",
    thresholds: Sequence[float] = PROTOCOL_THRESHOLDS_M,
    *,
    progress: Callable[[Iterable[Tiles]], Iterable[Tiles]] = iter,
) -> TileCounts:
    """As `count_tiles`, for an open network.

    Args:
        progress: Wraps the batches, to report progress.
    """
    levels = tuple(sorted({float(threshold) for threshold in thresholds}))
    try:
        maker = BatchMaker(thresholds=Thresholds(values=levels))
    except ValueError as error:
        raise ConfigError(f"thresholds {format_thresholds(levels)}: {error}", "evaluate") from error
    loader, resolution_m = trained.loader(split), trained.data.resolution_m
    found: dict[str, list[Tensor]] = {}
    classes = torch.zeros((len(levels), counting.PROBABILITY_CLASSES, 3), dtype=torch.int64, device=trained.predictor.device)
    shape, tile_px = (0, 0), (0, 0)
    with torch.inference_mode():
        for tiles in move_to_device(progress(loader), trained.predictor.device):
            tile_px = (tiles.dsm.shape[-2], tiles.dsm.shape[-1])
            shape = counting.choose_cell_grid(*tile_px, CELL_M / resolution_m)
            batch = maker(tiles)
            probability = trained.logits(batch, levels).sigmoid()
            classes += counting.count_by_probability(probability, batch)
            valid_pixels, gaps = counting.count_cells(probability, batch, shape)
            seen = {
                "index": tiles.index,
                "counts": counting.count_confusion(probability, batch),
                "slope_deg": compute_slope_deg(tiles.dsm - tiles.height, tiles.valid, resolution_m),
                "canopy": counting.count_canopy(batch),
                "cell_pixels": valid_pixels,
                "cells": gaps,
            }
            heights = trained.heights(batch)
            if heights is not None:
                seen["heights"] = counting.sum_height_errors(heights, batch)
            for name, values in seen.items():
                found.setdefault(name, []).append(values)
    # Synchronize with the device once, after all batches.
    arrays = {name: torch.cat(values).cpu().numpy() for name, values in found.items()}
    histogram = classes.cpu().numpy()
    counts, index = arrays["counts"], arrays["index"]
    pixels = counts[:, 0].sum(1)
    high, wide = tile_px[0] // shape[0], tile_px[1] // shape[1]
    return TileCounts(
        run=trained.run,
        checkpoint=str(trained.checkpoint),
        split=split,
        seed=trained.seed,
        resolution_m=float(resolution_m),
        tile_px=tile_px,
        trained=trained.predictor.thresholds,
        thresholds=np.array(levels),
        index=index,
        blocks=list_blocks(trained.source(split), index.tolist()),
        sites=list_sites(trained.source(split), index.tolist()),
        counts=counts,
        slope_deg=arrays["slope_deg"].astype(np.float64),
        canopy_cover=np.divide(arrays["canopy"], pixels, out=np.full(len(pixels), np.nan), where=pixels > 0),
        reliability=compute_reliability(histogram),
        curve=compute_curve(histogram),
        cell_m=(high * resolution_m, wide * resolution_m),
        cell_pixels=arrays["cell_pixels"],
        cells=arrays["cells"],
        height_errors=convert_height_errors(arrays["heights"]) if "heights" in arrays else None,
    )


def compute_reliability(histogram: Counts) -> Reals:
    """`TileCounts.reliability` from `counting.histogram`."""
    bins = histogram.reshape(len(histogram), RELIABILITY_BINS, -1, 3).sum(2)
    return np.stack([bins[..., 0] + bins[..., 1], bins[..., 2] / counting.PROBABILITY_UNIT, bins[..., 1]], axis=-1)


def compute_curve(histogram: Counts) -> Counts:
    """`TileCounts.curve` from `counting.histogram`."""
    above = np.zeros((len(histogram), DECISION_THRESHOLD_COUNT, 2), np.int64)
    above[:, :-1] = histogram[:, ::-1, :2].cumsum(1)[:, ::-1]
    return above[..., ::-1].copy()


def convert_height_errors(errors: Counts) -> Reals:
    """Sums of `counting.height_errors` in meters and square meters."""
    sums: Reals = errors / np.array([counting.HEIGHT_UNIT, counting.HEIGHT_UNIT, counting.HEIGHT_UNIT**2])
    return sums
