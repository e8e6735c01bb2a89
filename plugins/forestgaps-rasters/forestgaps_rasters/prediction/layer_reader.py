"""Further input layers of a map, read window by window on its grid."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core import InputLayer
from forestgaps_core.errors import DataError, nearest
from forestgaps_core.output.counts import format_count
from forestgaps_geo.bands.band import FloatArray
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import FileIdentity, identify_files
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.sources.further_layers import FurtherLayer, open_layer, require_layer_file


def require_same_files(files: Sequence[Path], content: Sequence[FileIdentity]) -> None:
    """Require that files are those that the map was planned with, where that is known.

    Raises:
        DataError: They are not.
    """
    found = {file.content() for file in identify_files(files)} if content else set()
    if other := found.symmetric_difference(content):
        raise DataError(
            f"{min(str(name) for name, *_ in other)}: differs on {socket.gethostname()} from what the map was planned with; "
            "put the same file there, or repeat the command"
        )


@define(eq=False)
class LayerReader:
    """The further layers on the grid of the map, opened when they are first read, in each process anew. Threads take turns."""

    files: Mapping[str, Path]
    grid: Grid
    pixel_size_m: float | None = None
    content: tuple[FileIdentity, ...] = ()
    _open: ExitStack | None = field(default=None, init=False)
    _layers: dict[str, FurtherLayer] = field(factory=dict, init=False)
    _turn: threading.Lock = field(factory=threading.Lock, init=False)

    def read(self, row: int, column: int, rows: int, columns: int) -> dict[str, FloatArray]:
        """(C, rows, columns) of each layer, 0 without data."""
        with self._turn, configure_gdal():
            return {name: layer.window(row, column, rows, columns) for name, layer in self._open_layers().items()}

    def _open_layers(self) -> dict[str, FurtherLayer]:
        if self._open is None:
            require_same_files(tuple(self.files.values()), self.content)
            self._open = ExitStack()
            for name, path in self.files.items():
                opened = open_layer(name, path, self.grid, pixel_size_m=self.pixel_size_m)
                self._layers[name] = self._open.enter_context(opened)
        return self._layers

    def describe(self, expected: Mapping[str, InputLayer]) -> list[str]:
        """Return what a person should know of the layers.

        Raises:
            DataError: One cannot be used, or has another number of bands than the network was trained with.
        """
        with configure_gdal():
            for name, layer in self._open_layers().items():
                wanted = expected[name].channels
                if layer.channels != wanted:
                    raise DataError(
                        f"layer {name!r}: {layer.path} has {format_count(layer.channels, 'band')} of values, the network was "
                        f"trained with {wanted}; give a file of the same bands in the same order (gdal_translate -b N chooses)"
                    )
        return [note for layer in self._layers.values() for note in layer.notes]

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._layers = None, {}

    def __getstate__(self) -> tuple[Any, ...]:
        return self.files, self.grid, self.pixel_size_m, self.content

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.files, self.grid, self.pixel_size_m, self.content = state
        self._open, self._layers, self._turn = None, {}, threading.Lock()


def check_layer_files(files: Mapping[str, Path], expected: Mapping[str, InputLayer]) -> None:
    """Require a file for each further layer of a network, and no other.

    Raises:
        DataError: With all that is missing or too many.
    """
    problems = [
        f"the network needs the layer {name!r} ({format_count(layer.channels, 'band')}); add --layer {name}=FILE"
        for name, layer in expected.items()
        if name not in files
    ]
    for name in files:
        if name not in expected:
            known = f"it takes: {', '.join(expected)}" if expected else "it maps from the DSM alone"
            problems.append(f"--layer {name}: the network has no such layer{nearest(name, expected)}; {known}")
    if problems:
        raise DataError("\n".join(problems))
    for name, path in files.items():
        require_layer_file(name, path)
