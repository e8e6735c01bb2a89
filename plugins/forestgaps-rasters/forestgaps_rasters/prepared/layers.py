"""Further input layers of a prepared folder: their names, and the statistics that networks scale them with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, max_len, min_len
from numpy.typing import NDArray

from forestgaps_core import InputLayer
from forestgaps_core.errors import DataError, shorten
from forestgaps_core.output.counts import format_count

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
RESERVED = ("dsm", "dtm", "chm", "height")
MAX_CHANNELS = 64


def explain_layer_name(name: str) -> str:
    """Return what is wrong with the name of a layer, or ''."""
    if name.lower() in RESERVED:
        return f"{name!r} is the name of an elevation raster; choose another name for the layer"
    if not NAME.fullmatch(name):
        return f"{shorten(name)!r} is no name of a layer: a letter, then letters, digits, '_' and '-', at most 32"
    return ""


def parse_layers(options: list[str]) -> dict[str, Path | None]:
    """Return the layers of a command line, `NAME=FILE` each, or `NAME` alone.

    Raises:
        DataError: A name is none, or given twice, or a file is missing after '='.
    """
    found: dict[str, Path | None] = {}
    for option in options:
        name, equals, file = option.partition("=")
        if fault := explain_layer_name(name):
            raise DataError(f"--layer {shorten(option)}: {fault}. Write --layer NAME=FILE, such as --layer rgb=ortho.tif")
        if equals and not file:
            raise DataError(f"--layer {option}: names no file. Write --layer {name}=FILE")
        if name in found:
            raise DataError(f"--layer {name} is given twice; give each layer once")
        found[name] = Path(file) if equals else None
    return found


def parse_layer_files(options: list[str]) -> dict[str, Path]:
    """The same, each with its file.

    Raises:
        DataError: One names no file.
    """
    found = {}
    for name, path in parse_layers(options).items():
        if path is None:
            raise DataError(f"--layer {name}: names no file. Write --layer {name}=FILE")
        found[name] = path
    return found


@frozen(kw_only=True)
class LayerStatistics:
    """Mean and standard deviation of each channel of a layer, over so many pixels."""

    pixels: int
    mean: tuple[float, ...] = field(validator=and_(min_len(1), max_len(MAX_CHANNELS)))
    std: tuple[float, ...] = field(validator=max_len(MAX_CHANNELS))

    def __attrs_post_init__(self) -> None:
        InputLayer(mean=self.mean, std=self.std)  # checks them
        if self.pixels < 1:
            raise ValueError("must be of one pixel or more")


class RunningStatistics:
    """Counts, sums and sums of squares of the channels of a layer, strip by strip, where DSM and layer have data."""

    def __init__(self, channels: int) -> None:
        self.pixels = 0
        self.sums = np.zeros((2, channels))
        self.shift: NDArray[np.float32] | None = None  # of all values, so that squares keep their digits

    def add(self, planes: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        values = planes[:, valid & (planes != 0).any(axis=0)].astype(np.float64)
        if not values.shape[1]:
            return
        if self.shift is None:
            self.shift = values[:, :1].astype(np.float32)
        values -= self.shift
        self.pixels += values.shape[1]
        self.sums += np.stack([values.sum(1), np.square(values).sum(1)])

    def finish(self, where: str) -> LayerStatistics:
        """
        Raises:
            DataError: There is no pixel.
        """
        if self.shift is None:
            raise DataError(f"{where}: has no data where the DSM has; leave the layer out, or give another file")
        mean, square = self.sums / self.pixels
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return LayerStatistics(
            pixels=self.pixels,
            mean=tuple(float(f"{value:.6g}") for value in mean + self.shift[:, 0]),
            std=tuple(float(f"{value:.6g}") for value in std),
        )


def combine_statistics(parts: list[LayerStatistics]) -> InputLayer:
    """Return mean and standard deviation over all pixels of several sites."""
    weights = np.array([part.pixels for part in parts], np.float64)
    weights /= weights.sum()
    means, stds = (np.array([getattr(part, key) for part in parts]) for key in ("mean", "std"))
    mean = weights @ means
    std = np.sqrt(weights @ (stds**2 + (means - mean) ** 2))
    return InputLayer(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def explain_other_layers(name: str, layers: Mapping[str, int], first: str, expected: Mapping[str, int]) -> str:
    """Return what to do where a site has other layers than the first, or ''."""
    for layer in {**expected, **layers}:
        if layer not in layers or layer not in expected:
            has, lacks = (first, name) if layer in expected else (name, first)
            return f"site {lacks!r} has no layer {layer!r}, which site {has!r} has; name it for each site, or for none"
        if layers[layer] != expected[layer]:
            there = f"site {first!r} {format_count(expected[layer], 'band')}"
            return (
                f"layer {layer!r}: site {name!r} has {format_count(layers[layer], 'band')}, {there}; give files of the same bands"
            )
    return ""
