"""Compute the blocks of a map, and write both maps from them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import closing
from types import MappingProxyType
from typing import Any

import numpy as np

from forestgaps_core.components import Executor
from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import ShowProgress
from forestgaps_rasters.postprocessing.steps import MapSteps
from forestgaps_rasters.postprocessing.strips import process_strips
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
    work: WorkFolder,
    mapper: BlockMapper,
    steps: MapSteps,
    report: ShowProgress,
    empty: Set[BlockIndex] = frozenset(),
    tags: Mapping[str, Any] = MappingProxyType({}),
) -> dict[float, float]:
    """Write both maps from the blocks, after the post-processing steps; returns the share of gaps by threshold."""

    def block(item: BlockIndex) -> ByteArray | None:
        return None if item in empty else work.read_block(item, (len(thresholds), *window_grid.shape(item)))

    grid, thresholds, window_grid = mapper.surface.grid, mapper.thresholds, mapper.window_grid
    gaps, pixels = np.zeros(len(thresholds), np.int64), 0
    chances, kinds = [f"gap probability at {t:g} m" for t in thresholds], [f"gap at {t:g} m" for t in thresholds]
    with (
        CogWriter(work.result / "probabilities.tif", grid, chances, scale=1 / PROBABILITY_STEPS, **tags) as probability_file,
        CogWriter(work.result / "gaps.tif", grid, kinds, **tags) as gap_file,
    ):
        report("writing", 0, grid.rows)
        strips = assemble_strips(window_grid, len(thresholds), block)
        for strip, parts in process_strips(strips, len(thresholds), steps):
            for part in parts:
                gaps += (part.gaps == 1).sum((1, 2))
                pixels += int((part.gaps[0] != NODATA).sum())
                probability_file.write(part.row, part.probabilities, part.column)
                gap_file.write(part.row, part.gaps, part.column)
            report("writing", strip.row + strip.rows, grid.rows)
    if not pixels:
        raise DataError("no pixel of the new grid has data")
    write_styles(work.result, thresholds, grid.crs)
    return {level: float(count / pixels) for level, count in zip(thresholds, gaps, strict=True)}
