"""The post-processing steps of a map: chosen by the user, checked, and applied to a part of the map with its halo.

Each step sees `halo` pixels around what it changes. The steps of a part therefore give what they would give on the whole map, and
a map does not depend on how it is divided.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.components import Postprocessor
from forestgaps_core.config.command_components import ChosenComponent
from forestgaps_core.contracts import NamedErrors
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_rasters.prediction.blending import NODATA, ByteArray
from forestgaps_rasters.prediction.block_mapper import PROBABILITY_STEPS

POSTPROCESSING_TAG = "FORESTGAPS_POSTPROCESSING"  # of both maps
CHANGES = ("probabilities", "gaps")
MAX_HALO = 4096  # pixels: 0.1 GB of a part
Values = NDArray[Any]


@frozen(eq=False)
class Step:
    words: str
    run: Postprocessor


@frozen(eq=False)
class MapSteps:
    """Steps in their order: those on probabilities, then those on gaps.

    Attributes:
        lowest: The lowest byte of a probability that is a gap.
    """

    probabilities: tuple[Step, ...]
    gaps: tuple[Step, ...]
    lowest: int

    @property
    def halo(self) -> int:
        return sum(step.run.halo for step in (*self.probabilities, *self.gaps))

    def apply(self, part: ByteArray) -> tuple[ByteArray, ByteArray]:
        """Return the bytes of both maps, without the halo.

        Args:
            part: (K, h + 2 halo, w + 2 halo) bytes of probabilities, `NODATA` without data and beyond the raster.

        Raises:
            PluginError: A step returned something else than it may; the message names its package.
        """
        valid = part[0] != NODATA
        if self.probabilities:
            before = np.where(valid, part, 0)
            values: Values = before.astype(np.float32) / np.float32(PROBABILITY_STEPS)
            for step in self.probabilities:
                values, valid = run_step(step, values, valid)
            margin = (part.shape[1] - values.shape[1]) // 2
            part = np.where(valid, quantize(values), np.uint8(NODATA))
            self.check_order(crop(before, margin), part, valid)
        gaps: Values = valid & (part >= self.lowest)
        for step in self.gaps:
            ordered = bool((gaps[:-1] <= gaps[1:]).all())
            gaps, valid = run_step(step, gaps, valid)
            if ordered and not (gaps[:-1] <= gaps[1:]).all():
                raise PluginError(explain_lost_order(step))
        inner = crop(part, (part.shape[1] - gaps.shape[1]) // 2)
        return inner, np.where(valid, gaps.astype(np.uint8), np.uint8(NODATA))

    def check_order(self, before: ByteArray, part: ByteArray, valid: NDArray[np.bool_]) -> None:
        """Repair a difference of one byte, which rounding makes, in place; reject more."""
        if not (before[:-1] <= before[1:]).all():  # the network itself does not keep the order
            return
        highest = np.maximum.accumulate(np.where(valid, part, 0), axis=0)
        if (highest > part.astype(np.int16) + 1)[:, valid].any():
            raise PluginError(explain_lost_order(*self.probabilities))
        np.copyto(part, highest, where=valid)


def explain_lost_order(*steps: Step) -> str:
    words = " and ".join(step.words for step in steps)
    return (
        f"{words}: a gap at a threshold is not a gap at a higher threshold any more. A post-processor must keep maps monotone in "
        "the threshold; nothing was written"
    )


def run_step(step: Step, values: Values, valid: NDArray[np.bool_]) -> tuple[Values, NDArray[np.bool_]]:
    """Return the result without the halo of this step, 0 where there is no data, and where there is data."""
    with NamedErrors(lambda: step.words):
        found = step.run(values.copy(), valid.copy())
    if not isinstance(found, np.ndarray) or found.shape != values.shape or found.dtype != values.dtype:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
        raise PluginError(f"{step.words} returned {what}, expected {values.dtype} {values.shape}")
    found, valid = crop(found, step.run.halo), crop(valid, step.run.halo)
    found = np.where(valid, found, np.zeros((), found.dtype))
    if found.dtype != np.bool_ and not ((found >= 0) & (found <= 1)).all():  # or NaN
        raise PluginError(f"{step.words} returned values that are not probabilities (0 to 1)")
    return found, valid


def crop(values: Values, margin: int) -> Values:
    return values[..., margin : values.shape[-2] - margin, margin : values.shape[-1] - margin]


def quantize(probabilities: Values) -> ByteArray:
    steps: ByteArray = np.rint(probabilities * PROBABILITY_STEPS).astype(np.uint8)
    return steps


def build_steps(chosen: Sequence[ChosenComponent], thresholds: Sequence[float], resolution_m: float, lowest: int) -> MapSteps:
    """Build the chosen post-processors for one map.

    Raises:
        ConfigError: A step on probabilities follows one on gaps.
        PluginError: A component is not a post-processor.
    """
    steps: dict[str, list[Step]] = {name: [] for name in CHANGES}
    for one in chosen:
        run = one.build({"resolution_m": lambda: resolution_m, "thresholds": lambda: tuple(thresholds)})
        halo, changes = getattr(run, "halo", None), getattr(run, "changes", None)
        if not callable(run) or not isinstance(halo, int) or not 0 <= halo <= MAX_HALO or changes not in CHANGES:
            raise PluginError(
                f"{one.words} is not a post-processor: expected a function with halo (0 to {MAX_HALO} pixels, found {halo!r}) and "
                f"changes ({' or '.join(CHANGES)}, found {changes!r})"
            )
        if changes == "probabilities" and steps["gaps"]:
            raise ConfigError(
                f"--postprocess {one.component.name} changes probabilities, which become gaps afterwards. Name it before those "
                "that change gaps",
                "predict",
            )
        steps[changes].append(Step(one.words, run))
    return MapSteps(tuple(steps["probabilities"]), tuple(steps["gaps"]), lowest)


def describe_steps(chosen: Sequence[ChosenComponent]) -> dict[str, str]:
    """Return the metadata that a map gets of its steps."""
    return {POSTPROCESSING_TAG: json.dumps([one.describe() for one in chosen])} if chosen else {}
