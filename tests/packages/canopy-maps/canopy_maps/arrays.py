"""A reader of numpy arrays: `dsm.npy`, with its grid in `dsm.json` beside it."""

import numpy as np
from attrs import field, frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.safe_opening import open_regular_file, read_json
from forestgaps_geo.files.readers import ReadRaster


@frozen
class ArrayReader:
    unit: str
    suffixes: tuple = (".npy",)

    def claims(self, path, start):
        return start.startswith(b"\x93NUMPY")

    def read(self, path):
        try:
            grid = read_json(path.with_suffix(".json"))
            with open_regular_file(path) as file:
                values = np.load(file, allow_pickle=False)
            x, y, size = grid["x"], grid["y"], grid["pixel_size"]
            crs = grid["crs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: is not an array with a grid in {path.with_suffix('.json').name} ({error!r})") from error
        if values.ndim != 2:
            raise DataError(f"{path}: has {values.ndim} axes, expected 2")
        return ReadRaster(
            rows=values.shape[0],
            columns=values.shape[1],
            transform=(size, 0.0, x, 0.0, -size, y),
            crs=crs,
            unit=self.unit,
            strips=(values[row : row + 256] for row in range(0, len(values), 256)),
        )


@frozen(kw_only=True)
class Arrays:
    """Arrays of numpy (.npy), with the grid in a file .json of the same name: crs, x, y, pixel_size."""

    unit: str = field(default="metre", metadata={"help": "Unit of the values."})

    def build(self, layer):
        return ArrayReader(self.unit)
