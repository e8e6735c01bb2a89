"""Packages that only some filters need."""

from __future__ import annotations

import importlib.util

from forestgaps_core.errors import PluginError

INSTALL = {
    "CSF": "pip install 'forestgaps-baselines[csf]'",
    "dsm2dtm": "pip install 'forestgaps-baselines[dsm2dtm]'",
    "bulldozer": "pip install 'forestgaps-baselines[bulldozer]'",
}


def require_module(module: str) -> None:
    """Check that a module of `INSTALL` can be imported, without importing it.

    Raises:
        PluginError: It cannot; the message says what to install.
    """
    if importlib.util.find_spec(module) is None:
        raise PluginError(f"this filter needs a package that is not installed: {INSTALL[module]}")
