"""Choose the band of a raster that contains values; find its alpha band."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import ColorInterp

from forestgaps_core.errors import DataError
from forestgaps_geo.files.virtual_rasters import sanitize_text

MAP_BAND_DESCRIPTION = re.compile(
    r"gap (?:probability )?(?:at|below|up to) -?[\d.]+(?:e-?\d+)? m"
)  # descriptions of bands of gap maps


MAX_LISTED_BANDS = 8  # bands that an error lists


def find_alpha_band(dataset: Any) -> int | None:
    """The number of the band that masks the others, of any data type; None where there is none.

    Gap maps of forestgaps 0.1 declare the band of their fourth threshold as alpha; its description says what it is.
    """
    for number, (kind, words) in enumerate(zip(dataset.colorinterp, dataset.descriptions, strict=True), start=1):
        if kind == ColorInterp.alpha and not MAP_BAND_DESCRIPTION.fullmatch((words or "").strip()):
            return number
    return None


def list_value_bands(path: Path, dataset: Any) -> list[int]:
    """The numbers of the bands that hold values.

    Raises:
        DataError: There is none.
    """
    masks = [
        number
        for number, (kind, words) in enumerate(zip(dataset.colorinterp, dataset.descriptions, strict=True), start=1)
        if kind == ColorInterp.alpha and not MAP_BAND_DESCRIPTION.fullmatch((words or "").strip())
    ]
    numbers = [number for number in range(1, dataset.count + 1) if number not in masks]
    if not numbers:
        raise DataError(f"{path}: has no band of values, only alpha ({dataset.count} in all). Give a raster with values")
    return numbers


def choose_band(
    path: Path, dataset: Any, band: int | None, what: str, *, several_only: bool = False, option: str = "--band"
) -> int:
    """The number of the one band to read.

    Args:
        band: The number that was given; None: the only band of values.
        what: What is read, such as "a DSM".
        several_only: `band` is meant for rasters with several bands of values; others are read as they are.
        option: That chooses the band.

    Raises:
        DataError: There are several and none was given, or there is no such band.
    """
    numbers = list_value_bands(path, dataset)
    if len(numbers) == 1 and (band is None or several_only):
        return numbers[0]
    if band is None:
        raise DataError(
            f"{path}: has {len(numbers)} bands of values ({describe_bands(dataset, numbers)}), and {what} is one band. Choose it "
            f"with {option} N, such as {option} {numbers[0]}"
        )
    return require_band(path, dataset, band, numbers, option)


def require_band(path: Path, dataset: Any, band: int, numbers: Sequence[int], option: str = "--band") -> int:
    if band in numbers:
        return band
    is_alpha = 1 <= band <= dataset.count
    there = f"band {numbers[0]}" if len(numbers) == 1 else f"bands {numbers[0]} to {numbers[-1]}"
    fault = f"band {band} is alpha, which masks the others" if is_alpha else f"has no band {band}"
    raise DataError(f"{path}: {fault}; there {'is' if len(numbers) == 1 else 'are'} {there}. Choose another {option}")


def describe_bands(dataset: Any, numbers: Sequence[int]) -> str:
    """The bands with what is known of them: "1: ground, float32; 2: uint8, red"."""
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    words = []
    for number in numbers[:MAX_LISTED_BANDS]:
        kind = dataset.colorinterp[number - 1]
        about = [
            sanitize_text(dataset.descriptions[number - 1] or "")[:40],
            dataset.dtypes[number - 1],
            kind.name if kind in colors else "",
        ]
        words.append(f"{number}: {', '.join(word for word in about if word)}")
    return "; ".join([*words, *(["..."] if len(numbers) > MAX_LISTED_BANDS else [])])
