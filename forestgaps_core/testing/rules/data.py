"""The rules for data sets: three splits, whose samples are a function of index and draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from forestgaps_core.components import Data, Tile
from forestgaps_core.testing.building import build_component

SPLITS = ("train", "validation", "test")
DTYPES = (("dsm", torch.float32), ("height", torch.float32), ("valid", torch.bool))
DRAW = 12345


def build_data(config: Any, arguments: dict[str, Any]) -> Data:
    data = build_component("data", config, **arguments)
    assert isinstance(data, Data), f"{type(data).__name__} lacks resolution_m, train, validation or test"
    return data


def read_samples(data: Data) -> Iterator[tuple[str, int, Tile]]:
    """Yield the first, middle and last tile of each split, with the name of the split and the index."""
    for split in SPLITS:
        source = getattr(data, split)
        for index in sorted({0, len(source) // 2, len(source) - 1}):
            yield split, index, source.read(index, DRAW)


def check_splits(config: Any, **arguments: Any) -> None:
    """There are a pixel size and three splits with samples, as many each time."""
    data, again = build_data(config, arguments), build_data(config, arguments)
    assert data.resolution_m > 0, f"a resolution of {data.resolution_m} m"
    for split in SPLITS:
        source = getattr(data, split)
        assert len(source) > 0, f"{split} is empty"
        assert len(source) == len(getattr(again, split)), f"{split} has another length the second time"


def check_tiles(config: Any, **arguments: Any) -> None:
    """Tiles have the types of a tile, and those of a split have one shape."""
    data = build_data(config, arguments)
    shapes = {split: getattr(data, split).read(0, 1).dsm.shape for split in SPLITS}
    for split, _, tile in read_samples(data):
        for name, dtype in DTYPES:
            plane = getattr(tile, name)
            assert plane.dtype == dtype, f"{split}: {name} is {plane.dtype}, not {dtype}"
            assert plane.shape == shapes[split] and plane.dim() == 2, f"{split}: {name} has shape {tuple(plane.shape)}"


def check_repeatable(config: Any, **arguments: Any) -> None:
    """A sample is a function of its index and draw."""
    samples = (read_samples(build_data(config, arguments)) for _ in range(2))
    for (split, index, tile), (_, _, twin) in zip(*samples, strict=True):
        for name, _ in DTYPES:
            equal = torch.equal(getattr(tile, name)[tile.valid], getattr(twin, name)[twin.valid])
            assert equal, f"{split}: sample {index} differs when read again"


def check_finite(config: Any, **arguments: Any) -> None:
    """DSM and height are finite where they are valid."""
    for split, index, tile in read_samples(build_data(config, arguments)):
        assert tile.dsm[tile.valid].isfinite().all(), f"{split}: the DSM of sample {index} is not finite where it is valid"
        assert tile.height[tile.valid].isfinite().all(), f"{split}: the height of sample {index} is not finite where it is valid"


RULES = (check_splits, check_tiles, check_repeatable, check_finite)
