"""A network at another pixel size than that of its training.

Some networks say which pixels they map well: `finest`, times the pixel size of the training, and `for_pixels(times)`, the network
for such pixels. A DSM is then mapped at its own pixel size, for that gave better maps than bringing it to the pixel size of the
training (`benchmarks/pixel_sizes.py`). Of other networks nothing is known, and they are used as they are.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from forestgaps_rasters.prediction.block_mapper import Predictor


def get_finest_ratio(predictor: Predictor) -> float | None:
    """The finest pixels that the network maps well, times the pixel size of its training; None where it does not say."""
    found: float | None = getattr(getattr(predictor, "model", predictor), "finest", None)
    return found


def fit_to_pixels(predictor: Predictor, resolution_m: float) -> Predictor:
    """Return what maps pixels of a size best with this network."""
    if get_finest_ratio(predictor) is None:
        return predictor
    changing: Any = predictor
    model = changing.model.for_pixels(resolution_m / predictor.resolution_m)
    fitted: Predictor = predictor if model is changing.model else evolve(changing, model=model)
    return fitted


def describe_resampling(predictor: Predictor, source_m: float, resolution_m: float) -> list[str]:
    """What a person should know who asked for coarser pixels than the DSM has."""
    finest = get_finest_ratio(predictor)
    if finest is None or resolution_m < 1.05 * source_m or source_m < finest * predictor.resolution_m:
        return []
    return [
        f"the DSM was resampled from {source_m:g} m to {resolution_m:g} m (highest value), as asked; this network gives better "
        "maps at the DSM's own pixel size, without --resample"
    ]
