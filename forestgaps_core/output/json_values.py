"""Values for JSON, which has no NaN and no infinity."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any


def replace_nonfinite(value: Any) -> Any:
    """Return the value with None, which is null in JSON, instead of NaN and infinity, also inside tables and lists."""
    if isinstance(value, Mapping):
        return {key: replace_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value
