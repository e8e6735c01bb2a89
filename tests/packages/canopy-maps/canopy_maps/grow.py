"""A post-processor: gaps grow by some pixels."""

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le


@frozen
class GrownGaps:
    halo: int
    changes: str = "gaps"

    def __call__(self, values, valid):
        padded = np.pad(values, ((0, 0), (self.halo, self.halo), (self.halo, self.halo)))
        rows, columns = values.shape[1:]
        steps = range(2 * self.halo + 1)
        return np.logical_or.reduce([padded[:, row : row + rows, column : column + columns] for row in steps for column in steps])


@frozen(kw_only=True)
class Grow:
    """Gaps grow by some pixels to all sides."""

    pixels: int = field(default=1, validator=[ge(0), le(20)], metadata={"help": "How far they grow, pixels."})

    def build(self):
        return GrownGaps(self.pixels)
