"""Comparisons that fail with a sentence: tensors within a tolerance, and scores by name."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor


def require_close(found: Tensor, expected: Tensor, sentence: str, tolerance: float = 1e-5) -> None:
    """Raise an `AssertionError` if a value differs by more than `tolerance` times the largest expected value (at least 1)."""
    difference = (found.detach().double() - expected.detach().double()).abs().max().item()
    scale = max(1.0, expected.detach().abs().max().item())
    assert difference <= tolerance * scale, f"{sentence}: by up to {difference:.3g}"


def require_same(found: Mapping[str, float], expected: Mapping[str, float], sentence: str) -> None:
    """Raise an `AssertionError` if names or values differ. NaN is equal to NaN."""
    assert found.keys() == expected.keys(), f"{sentence}: names {sorted(set(found) ^ set(expected))}"
    for name, value in expected.items():
        other = found[name]
        equal = (math.isnan(value) and math.isnan(other)) or math.isclose(value, other, rel_tol=1e-12, abs_tol=1e-12)
        assert equal, f"{sentence}: {name} is {other} instead of {value}"
