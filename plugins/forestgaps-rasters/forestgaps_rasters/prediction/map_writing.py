"""Compute the blocks of a map, and write both maps from them."""

from __future__ import annotations

from collections.abc import Set
from contextlib import closing

import numpy as np

from forestgaps_core.components import Executor
from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import ShowProgress
from forestgaps_rasters.prediction.blending import NODATA, ByteArray, assemble_strips
from forestgaps_rasters.prediction.block_mapper import (
    PROBABILITY_STEPS,
    BlockMapper,
)
from forestgaps_rasters.prediction.cog import CogWriter
from forestgaps_rasters.prediction.qgis_styles import write_styles
from forestgaps_rasters.prediction.window_grid import (
    BlockIndex,
)
from forestgaps_rasters.work.work_folder import WorkFolder


def compute_blocks(
    mapper: BlockMapper, work: WorkFolder, executor: Executor, report: ShowProgress, empty: Set[BlockIndex] = frozenset()
) -> None:
    """Finish the blocks that are not there yet. Those known to be empty need no file."""
    window_grid, finished = mapper.window_grid, work.list_finished() | empty
    rows, count = window_grid.down.extent, len(finished)
    report("mapping", rows * count // len(window_grid), rows)
    missing = [item for item in window_grid if item not in finished]
    with closing(executor.execute(mapper, missing)) as results:  # type: ignore[type-var]  # what is asked of it is only a generator
        for item, values in results:
            work.write_block(item, values)
            count += 1
            report("mapping", rows * count // len(window_grid), rows)


def find_lowest_gap_byte(decision_threshold: float) -> int:
    """Return the lowest byte of a probability map that is a gap.

    This is the rule of every gap map: a pixel is a gap if its probability is at least the decision threshold. The probability is
    that of the map, rounded to 0.004. Metrics count a gap where the unrounded logit is above the logit of the threshold. So the
    two can differ only in pixels within 0.002 of the threshold, those exactly at the threshold included.
    """
    return next(byte for byte in range(PROBABILITY_STEPS + 1) if byte / PROBABILITY_STEPS >= decision_threshold - 1e-9)


def write_maps(
    work: WorkFolder, mapper: BlockMapper, decision_threshold: float, report: ShowProgress, empty: Set[BlockIndex] = frozenset()
) -> dict[float, float]:
    """Both maps from the blocks; the share of gaps by threshold."""

    def block(item: BlockIndex) -> ByteArray | None:
        return None if item in empty else work.read_block(item, (len(thresholds), *window_grid.shape(item)))

    grid, thresholds, window_grid = mapper.surface.grid, mapper.thresholds, mapper.window_grid
    lowest = find_lowest_gap_byte(decision_threshold)
    gaps, pixels = np.zeros(len(thresholds), np.int64), 0
    chances, kinds = [f"gap probability at {t:g} m" for t in thresholds], [f"gap at {t:g} m" for t in thresholds]
    with (
        CogWriter(work.result / "probabilities.tif", grid, chances, scale=1 / PROBABILITY_STEPS) as probability_file,
        CogWriter(work.result / "gaps.tif", grid, kinds) as gap_file,
    ):
        report("writing", 0, grid.rows)
        for strip in assemble_strips(window_grid, len(thresholds), block):
            for piece in strip.pieces:
                gap = np.where(piece.values == NODATA, np.uint8(NODATA), piece.values >= lowest)
                gaps += (gap == 1).sum((1, 2))
                pixels += int((piece.values[0] != NODATA).sum())
                probability_file.write(strip.row, piece.values, piece.column)
                gap_file.write(strip.row, gap, piece.column)
            report("writing", strip.row + strip.rows, grid.rows)
    if not pixels:
        raise DataError("no pixel of the new grid has data")
    write_styles(work.result, thresholds, grid.crs)
    return {level: float(count / pixels) for level, count in zip(thresholds, gaps, strict=True)}
