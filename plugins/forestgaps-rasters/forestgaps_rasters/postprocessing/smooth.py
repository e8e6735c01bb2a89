"""The post-processor `smooth`: a Gaussian mean of the probabilities around each pixel."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, gt, le
from numpy.typing import NDArray

from forestgaps_core.components import Postprocessor

TRUNCATED = 3.0  # standard deviations


@frozen(kw_only=True)
class Smooth:
    """Gaussian mean of the probabilities of the pixels with data around each pixel. Removes specks and frayed edges."""

    sigma_m: float = field(
        default=0.5, validator=and_(gt(0), le(50)), metadata={"help": "Standard deviation of the Gaussian, meters."}
    )

    def build(self, resolution_m: float) -> Postprocessor:
        return GaussianMean(self.sigma_m / resolution_m)


@frozen
class GaussianMean:
    """Means with the weights of a Gaussian that ends at three standard deviations, without the pixels that have no data.

    The sums have the same terms in the same order wherever a pixel is, and rounding keeps order: where all probabilities of one
    threshold are at least those of another, so are their means.
    """

    changes: ClassVar[str] = "probabilities"
    sigma: float  # pixels

    @property
    def halo(self) -> int:
        return ceil(TRUNCATED * self.sigma)

    def __call__(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        offsets = np.arange(-self.halo, self.halo + 1)
        weights = np.exp(-0.5 * (offsets / self.sigma) ** 2).astype(np.float32)
        total = convolve(convolve(values, weights, -1), weights, -2)
        known = convolve(convolve(valid.astype(np.float32), weights, -1), weights, -2)
        mean: NDArray[Any] = np.clip(total / np.maximum(known, np.float32(1e-30)), 0, 1)
        return mean


def convolve(values: NDArray[Any], weights: NDArray[np.float32], axis: int) -> NDArray[Any]:
    """Return the weighted sums along an axis, with zeros beyond the ends."""
    halo = len(weights) // 2
    padding = [(0, 0)] * values.ndim
    padding[axis] = (halo, halo)
    padded = np.pad(values, padding)
    size = values.shape[axis]
    total = np.zeros_like(values)
    for start, weight in enumerate(weights):
        index = [slice(None)] * values.ndim
        index[axis] = slice(start, start + size)
        total += weight * padded[tuple(index)]
    return total
