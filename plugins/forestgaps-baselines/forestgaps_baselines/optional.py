"""Packages that only some filters need."""

from __future__ import annotations

import importlib.util

from forestgaps_core.errors import PluginError


def import_optional(module: str, extra: str) -> None:
    """Check that a package is installed, without importing it.

    Raises:
        PluginError: It is not; the message says what to install.
    """
    if importlib.util.find_spec(module) is None:
        raise PluginError(
            f"the filter {extra!r} needs a package that is not installed: python -m pip install 'forestgaps-baselines[{extra}]'"
        )
