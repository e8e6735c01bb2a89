from __future__ import annotations

import warnings
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def monai() -> ModuleType:
    """MONAI's losses, an independent implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        return pytest.importorskip("monai.losses", reason="MONAI is not installed; the other references still run")
