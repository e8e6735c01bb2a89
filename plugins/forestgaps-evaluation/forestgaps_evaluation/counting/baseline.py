"""A ground filter on the data of a network: its map is counted as that of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from attrs import define, field
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.components import Batch, Source
from forestgaps_core.contracts import NamedErrors
from forestgaps_core.errors import PluginError
from forestgaps_evaluation.counting.network import TrainedNetwork

SURROUNDINGS_M = 100.0  # of a tile, which the filter sees too: its errors at the edge of a tile are not counted
SURE = 10.0  # logit of a map without probabilities

Plane = NDArray[np.float64]


@runtime_checkable
class HasSurroundings(Protocol):
    """A `Source` that knows the surface around its tiles."""

    def surroundings(self, index: int, margin: int) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """Return the surface of a tile and of up to `margin` pixels around it, and the rows and columns of the tile in it.

        The surface is (h, w), meters, NaN where there is no data.
        """


@define(eq=False, kw_only=True)
class BaselineMap(TrainedNetwork):
    """The map of a ground filter: a gap is where the surface is less than the threshold above the filter's ground.

    Attributes:
        ground_filter: Called with (dsm, resolution_m), float64 meters with NaN where there is no data; returns the ground.
        words: The filter in errors.
        split: The split that is counted.
    """

    ground_filter: Callable[[Plane, float], Plane]
    words: str
    split: str
    _batch: Batch | None = field(default=None, init=False)
    _heights: Tensor | None = field(default=None, init=False)

    def logits(self, batch: Batch, levels: Sequence[float]) -> Tensor:
        gap = self.heights(batch) < torch.tensor(levels, device=batch.dsm.device)[:, None, None]
        return torch.where(gap, SURE, -SURE)

    def heights(self, batch: Batch) -> Tensor:
        if self._heights is None or self._batch is not batch:  # asked twice for each batch
            source, margin = self.source(self.split), round(SURROUNDINGS_M / self.data.resolution_m)
            assert batch.index is not None
            dsm, valid = batch.dsm[:, 0].double().cpu().numpy(), batch.valid[:, 0].cpu().numpy()
            planes = [
                self._estimate_heights(np.where(known, surface, np.nan), source, index, margin)
                for surface, known, index in zip(dsm, valid, batch.index.tolist(), strict=True)
            ]
            self._batch, self._heights = batch, torch.from_numpy(np.stack(planes))[:, None].to(batch.dsm)
        return self._heights

    def _estimate_heights(self, surface: Plane, source: Source, index: int, margin: int) -> Plane:
        """Return the surface above the ground, (H, W) meters; 0 at invalid pixels."""
        valid = np.isfinite(surface)
        if not valid.any():
            return np.zeros(surface.shape)
        wide, inside = surface, (slice(None), slice(None))
        if isinstance(source, HasSurroundings):
            around, inside = source.surroundings(index, margin)
            wide = around.astype(np.float64)
        with NamedErrors(lambda: self.words):
            ground: Any = self.ground_filter(wide, self.data.resolution_m)
            if not isinstance(ground, np.ndarray) or ground.shape != wide.shape:
                raise PluginError(f"{self.words} returned no array of the shape {wide.shape} of the surface")
        height = (wide - ground)[inside]
        whole = np.zeros(surface.shape)
        whole[: height.shape[0], : height.shape[1]] = height
        return np.where(valid, np.maximum(whole, 0.0), 0.0)
