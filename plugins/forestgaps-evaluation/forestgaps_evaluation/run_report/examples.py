"""The example tiles of a report on a run: their choice and their pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.data.loader import SourceDataset
from forestgaps_core.runtime.rng import random_numbers
from forestgaps_evaluation.counting.network import TrainedNetwork
from forestgaps_evaluation.counting.tile_counts import TileCounts
from forestgaps_evaluation.pages.pictures import (
    FramedPicture,
    draw_agreement,
    draw_gaps,
    draw_relief,
    enlarge,
    frame_picture,
    hillshade,
)
from forestgaps_evaluation.pages.rendering import NARROW_SPACE, format_percent, format_score
from forestgaps_evaluation.protocol.scores import compute_gap_fraction, compute_scores, is_evaluated

PICTURE_PIXELS = 420  # approximate width of a picture, in pixels
MIN_VALID_FRACTION = 0.5  # of the median number of valid pixels; tiles with less are not shown


@frozen(kw_only=True)
class Example:
    """A tile with its pictures.

    Attributes:
        why: "typical", "best" or "worst".
        name: Name of the tile.
        description: Its score, in a sentence.
    """

    why: str
    name: str
    description: str
    maps: Sequence[FramedPicture]


def score_each_tile(tile_counts: TileCounts) -> NDArray[np.float64]:
    """Return the mean IoU of each tile, (N,); NaN for tiles without an evaluated threshold or with few valid pixels.

    A threshold counts if the gap fraction is between 1 and 95 %, both in the tile and in all tiles together.
    """
    evaluated = is_evaluated(compute_gap_fraction(tile_counts.counts.sum(0)))[None] & is_evaluated(
        compute_gap_fraction(tile_counts.counts)
    )
    scores = np.where(evaluated, compute_scores(tile_counts.counts)["mean_iou"], np.nan)
    enough = tile_counts.valid_pixels >= MIN_VALID_FRACTION * np.median(tile_counts.valid_pixels)
    scored = np.isfinite(scores) & enough[:, None]
    total = np.where(scored, scores, 0.0).sum(1)
    mean: NDArray[np.float64] = np.where(scored.any(1), total / np.maximum(scored.sum(1), 1), np.nan)
    return mean


def choose_tiles(values: NDArray[np.float64]) -> dict[str, list[int]]:
    """Return the indices of typical, best and worst tiles: one or two of each kind, and no tile twice."""
    order = [int(n) for n in np.argsort(values) if np.isfinite(values[n])]
    each = 2 if len(order) >= 8 else 1
    worst, best = order[:each], order[::-1][:each]
    rest = [n for n in order if n not in worst and n not in best]
    middle = len(rest) // 2
    typical = rest[max(middle - each // 2, 0) : middle + (each + 1) // 2]
    return {"typical": typical, "best": [n for n in best if n not in worst], "worst": worst}


def make_examples(trained: TrainedNetwork, tile_counts: TileCounts, threshold: float) -> list[Example]:
    """Return the chosen tiles with four pictures each: relief, reference, map, and agreement at one threshold."""
    values = score_each_tile(tile_counts)
    return [
        make_example(trained, tile_counts, n, why, threshold, float(values[n]))
        for why, chosen in choose_tiles(values).items()
        for n in chosen
    ]


def make_example(trained: TrainedNetwork, tile_counts: TileCounts, n: int, why: str, threshold: float, value: float) -> Example:
    levels = tuple(float(level) for level in tile_counts.thresholds)
    index = int(tile_counts.index[n])
    seed = int(random_numbers(trained.seed, 0, torch.tensor([index]))[0])  # the same tile as the loader reads
    tiles = SourceDataset(trained.source(tile_counts.split))[index, seed].to(trained.predictor.device)
    batch = BatchMaker(thresholds=Thresholds(values=levels))(tiles)
    predicted = (trained.logits(batch, levels) > 0)[0].cpu().numpy()
    target, valid = (batch.target > 0.5)[0].cpu().numpy(), batch.valid[0, 0].cpu().numpy()
    dsm = np.where(valid, tiles.dsm[0, 0].cpu().numpy(), np.nan).astype(np.float32)
    window = find_valid_window(valid)
    predicted, target, valid, dsm = predicted[:, *window], target[:, *window], valid[window], dsm[window]
    factor = max(1, round(PICTURE_PIXELS / max(valid.shape)))
    width_m = valid.shape[1] * tile_counts.resolution_m
    shade = enlarge(hillshade(dsm, tile_counts.resolution_m), factor)
    mapped, reference, enlarged_valid = (enlarge(channel, factor) for channel in (predicted, target, valid))
    k = levels.index(threshold)
    name = name_tile(tile_counts, n)
    fractions = [format_percent(float(masks[k][valid].mean())) for masks in (target, predicted)]
    listed = ", ".join(f"{level:g}" for level in levels)
    relief = frame_picture(
        draw_relief(shade, enlarged_valid),
        width_m=width_m,
        alt=f"{name}: relief of the surface.",
        caption="Surface: the only input of the network",
    )
    reference_map = frame_picture(
        draw_gaps(shade, reference, enlarged_valid),
        width_m=None,
        alt=f"{name}, reference: gaps below {listed} m in colors over the relief; {fractions[0]} lower than {threshold:g} m.",
        caption=f"Reference: {fractions[0]} lower than {threshold:g}{NARROW_SPACE}m",
    )
    predicted_map = frame_picture(
        draw_gaps(shade, mapped, enlarged_valid),
        width_m=None,
        alt=f"{name}, map: gaps below {listed} m in colors over the relief; {fractions[1]} lower than {threshold:g} m.",
        caption=f"Map: {fractions[1]} lower than {threshold:g}{NARROW_SPACE}m",
    )
    scores = compute_scores(tile_counts.counts[n, k])
    agreement = frame_picture(
        draw_agreement(shade, mapped[k], reference[k], enlarged_valid),
        width_m=None,
        alt=f"{name}, agreement at {threshold:g} m: gap IoU {format_score(float(scores['gap_iou']))}, "
        f"canopy IoU {format_score(float(scores['canopy_iou']))}.",
        caption=f"Agreement at {threshold:g}{NARROW_SPACE}m: mean IoU {format_score(float(scores['mean_iou']))}",
    )
    slope = f", mean ground slope {tile_counts.slope_deg[n]:.0f}°" if np.isfinite(tile_counts.slope_deg[n]) else ""
    cover = f"canopy cover {format_percent(float(tile_counts.canopy_cover[n]), 0)}"
    description = f"Mean IoU {format_score(value)} over the evaluated thresholds; {cover}{slope}."
    return Example(why=why, name=name, description=description, maps=[relief, reference_map, predicted_map, agreement])


def name_tile(tile_counts: TileCounts, n: int) -> str:
    """Return the name of a tile in tables and captions, with its block if the block has a name of its own."""
    name = f"Tile {int(tile_counts.index[n]) + 1}"
    block = tile_counts.blocks[n]
    return name if block == f"tile {int(tile_counts.index[n])}" else f"{name} ({block})"


def find_valid_window(valid: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest window that contains all valid pixels."""
    rows, columns = (np.flatnonzero(valid.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
