"""Which parts of a sparse GeoTIFF hold nothing, known without reading them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BLOCKS = 10**6  # asked for one by one, some microseconds each


def stored_blocks(dataset: Any, number: int) -> NDArray[np.bool_] | None:
    """Return which blocks of a band have bytes in the file, (down, across); None where the format does not tell.

    The pixels of the other blocks hold the nodata value, or 0 where there is none.
    """
    rows, columns = dataset.block_shapes[number - 1]
    down, across = -(-dataset.height // rows), -(-dataset.width // columns)
    if dataset.driver != "GTiff" or down * across > MAX_BLOCKS:
        return None
    offsets = [dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=number) for y in range(down) for x in range(across)]
    return np.array([offset is not None for offset in offsets]).reshape(down, across)
