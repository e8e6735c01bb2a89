"""From meters in a run file to pixels."""

from __future__ import annotations

from forestgaps_core.errors import ConfigError


def convert_to_pixels(name: str, value: float, resolution_m: float | None, *, power: int = 1) -> float:
    """Return a length in meters as pixels, or with `power` 2 an area in square meters.

    Raises:
        ConfigError: The pixel size is not known.
    """
    if resolution_m is None:
        raise ConfigError(f"{name}: the pixel size of the data is not known here; give the setting in pixels")
    return float(value / resolution_m**power)
