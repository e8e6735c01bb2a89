"""One block of a map: read a window, ask the network, keep the middle as bytes.

The answer depends on the pixels of the window and on nothing else: not on the process, not on what was computed before. So that
this holds to the last bit, the network always computes with one thread, for the order of a sum depends on their number.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
import rasterio
import torch
from attrs import define, field, fields, has
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.errors import ForestgapsError
from forestgaps_geo.bands.band import Band, FloatArray
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import FileIdentity
from forestgaps_geo.grids.grid import Grid, match_pixel_blocks
from forestgaps_rasters.prediction.blending import NODATA, ByteArray
from forestgaps_rasters.prediction.layer_reader import LayerReader, require_same_files
from forestgaps_rasters.prediction.window_grid import BlockIndex, WindowGrid
from forestgaps_rasters.sources.mosaics import RasterSource
from forestgaps_rasters.sources.resampling import ResampledBand, resample_band

RECORDED_PACKAGES = ("forestgaps_core", "forestgaps_geo", "forestgaps_rasters", "numpy", "rasterio", "torch")
PROBABILITY_STEPS = 250  # of a probability in a byte: value / 250, so that steps (0.004) are far below any error and 255 stays free


class Predictor(Protocol):
    """What `forestgaps_core.load_predictor` returns, as far as it is used here."""

    @property
    def thresholds(self) -> tuple[float, ...]: ...

    @property
    def resolution_m(self) -> float: ...

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float], kept: tuple[slice, slice]) -> Tensor: ...


@define(eq=False)
class DsmReader:
    """A DSM on the grid of the map, opened when it is first read, in each process anew. Threads take turns.

    Attributes:
        grid: Of the map.
        resample: Whether the DSM may be brought to it.
        content: Of all files that are read, where the map was planned; where they differ, blocks would not fit each other.
    """

    source: RasterSource
    grid: Grid
    resample: bool
    content: tuple[FileIdentity, ...] = ()
    _open: ExitStack | None = field(default=None, init=False)
    _band: Band | None = field(default=None, init=False)
    _strips: ResampledBand | None = field(default=None, init=False)
    _turn: threading.Lock = field(factory=threading.Lock, init=False)

    def read(self, row: int, column: int, rows: int, columns: int) -> FloatArray:
        """Float32 meters, NaN without data."""
        with self._turn, configure_gdal():
            return self._open_band()[1].window(row, column, rows, columns)

    def is_empty(self, row: int, column: int, rows: int, columns: int) -> bool:
        """Whether a window of the map is known to be without data, without reading it."""
        with self._turn, configure_gdal():
            band = self._open_band()[0]
            fit = match_pixel_blocks(band.grid, self.grid)
            if fit is None:
                return False
            first, left, k = fit
            return band.source.is_empty(first + row * k, left + column * k, rows * k, columns * k)

    def _open_band(self) -> tuple[Band, ResampledBand]:
        if self._band is None or self._strips is None:
            require_same_files(self.source.files, self.content)
            self._open = ExitStack()
            self._band = self._open.enter_context(self.source.open())
            # With GDAL's usual tolerance a pixel on another CRS would depend on the window it is read with.
            onto_map = resample_band(self._band, self.grid, "maximum", resample=self.resample, tolerance=1e-6)
            self._strips = self._open.enter_context(onto_map)
        return self._band, self._strips

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._band = self._strips = None

    def __getstate__(self) -> tuple[RasterSource, Grid, bool, tuple[FileIdentity, ...]]:
        return self.source, self.grid, self.resample, self.content

    def __setstate__(self, state: tuple[RasterSource, Grid, bool, tuple[FileIdentity, ...]]) -> None:
        self.source, self.grid, self.resample, self.content = state
        self._open, self._band, self._strips, self._turn = None, None, None, threading.Lock()


@define(eq=False)
class BlockMapper:
    """Maps one block. Called with the index of a block, returns the kept part of it, or None if the block has no data.

    The values are bytes, (K, h, w): probability times `PROBABILITY_STEPS`, 255 without data. A mapper is pickled for other
    processes. Threads may share it.
    """

    predictor: Predictor
    surface: DsmReader
    window_grid: WindowGrid
    thresholds: tuple[float, ...]
    layers: LayerReader | None = None  # for a network that needs further layers

    def __call__(self, item: BlockIndex) -> ByteArray | None:
        down, right = self.window_grid.down, self.window_grid.right
        row, column = down.starts[item[0]], right.starts[item[1]]  # of the window; outside the raster it is without data
        (top, bottom), (left, end) = down.get_read_range(item[0]), right.get_read_range(item[1])
        window = np.full((down.size, right.size), np.nan, np.float32)
        window[top - row : bottom - row, left - column : end - column] = self.surface.read(top, left, bottom - top, end - left)
        (first, last), (begin, stop) = down.get_kept_range(item[0]), right.get_kept_range(item[1])
        kept = (slice(first - row, last - row), slice(begin - column, stop - column))
        valid = np.isfinite(window)
        if not valid[kept].any():
            return None
        window[~valid] = 0
        further = {}
        if self.layers is not None:
            for name, planes in self.layers.read(top, left, bottom - top, end - left).items():
                whole = np.zeros((len(planes), *window.shape), np.float32)
                whole[:, top - row : bottom - row, left - column : end - column] = planes
                further[name] = torch.from_numpy(whole)[None]
        return self.predict_bytes(window, valid, kept, further)

    def is_empty(self, item: BlockIndex) -> bool:
        """Whether a block is known to be without data, without reading it."""
        (top, bottom), (left, right) = self.window_grid.down.get_kept_range(item[0]), self.window_grid.right.get_kept_range(item[1])
        return self.surface.is_empty(top, left, bottom - top, right - left)

    def predict_bytes(
        self, window: FloatArray, valid: NDArray[np.bool_], kept: tuple[slice, slice], layers: Mapping[str, Tensor]
    ) -> ByteArray:
        if torch.get_num_threads() != 1:  # of this thread; each asks for itself
            torch.set_num_threads(1)
        known = torch.from_numpy(valid)
        # Answered for what is kept, one plane a threshold.
        predictor: Any = self.predictor
        further = {"layers": layers} if layers else {}
        chances = predictor(torch.from_numpy(window)[None, None], known[None, None], self.thresholds, kept, **further)[0]
        known = known[kept]
        with torch.inference_mode():
            if not chances.sum().isfinite() and not torch.where(known, chances, 0.0).isfinite().all():
                raise ForestgapsError(
                    "the network gives probabilities that are not numbers; its training diverged, so use another checkpoint"
                )
            steps = chances.mul_(PROBABILITY_STEPS).round_().clamp_(0, PROBABILITY_STEPS).to(torch.uint8)
            found: ByteArray = steps.masked_fill_(~known, NODATA).numpy()
        return found

    def close(self) -> None:
        self.surface.close()
        if self.layers is not None:
            self.layers.close()


@contextmanager
def preserve_torch_threads() -> Iterator[None]:
    """Leave torch with as many threads as it had."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def hash_predictor(predictor: Predictor) -> str:
    """A checksum of the network: its weights and whatever else it says of itself."""
    sum_ = hashlib.sha256(f"{type(predictor).__module__}.{type(predictor).__qualname__}".encode())
    network = getattr(predictor, "model", predictor)
    sum_.update(describe_object(network).encode())
    if isinstance(network, torch.nn.Module):
        for name, tensor in network.state_dict().items():
            sum_.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sum_.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    kind: Any = type(predictor)
    if has(kind):
        settings = {about.name: getattr(predictor, about.name) for about in fields(kind) if about.name != "model"}
        sum_.update(describe_object(settings).encode())
    return sum_.hexdigest()


def describe_object(value: object) -> str:
    """As Python shows it, without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def collect_versions(predictor: Predictor) -> str:
    """The packages that decide what a block holds."""
    network = getattr(predictor, "model", predictor)
    parts = [predictor, network, *(network.modules() if isinstance(network, torch.nn.Module) else ())]
    names = {type(part).__module__.partition(".")[0] for part in parts} - {"builtins"}
    found = {"GDAL": rasterio.__gdal_version__, "PROJ": rasterio.__proj_version__}
    for name in sorted({*names, *RECORDED_PACKAGES}):
        with suppress(PackageNotFoundError):
            found[name] = version(name.replace("_", "-"))
    return ", ".join(f"{name} {number}" for name, number in found.items())


def get_context_pixels(predictor: Predictor) -> float:
    """Pixels from which a network's answer for a pixel depends on its surroundings, as far as it says; 0 where it does not."""
    network: Any = getattr(predictor, "model", predictor)
    if (pixels := getattr(network, "context_pixels", None)) is not None:
        return float(pixels)
    if (meters := getattr(network, "context_m", None)) is not None:
        return float(meters) / predictor.resolution_m
    return 0.0


def get_pixel_bytes(predictor: Predictor) -> int | None:
    """Bytes of memory a network takes for each pixel of a window, as far as it says."""
    said: int | None = getattr(getattr(predictor, "model", predictor), "pixel_bytes", None)
    return said
