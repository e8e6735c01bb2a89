"""Fixtures for pytest: import one by name in `conftest.py` or in a test module. Installing the core registers none."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from forestgaps_core.plugins.registry import Plugins


@pytest.fixture
def empty_plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """A registry without plugins, which everything in the test uses in place of the installed ones.

    Functions and commands that discover plugins get this registry: none of the installed packages, and none of the user's
    settings, changes the test. Add what the test needs with `add_installed`, `add_folder` or `add_file`.
    """
    plugins = Plugins()

    def discover(local: Iterable[Path] = ()) -> Plugins:
        for path in local:
            plugins.add_file(path)
        return plugins

    monkeypatch.setattr(Plugins, "discover", discover)
    monkeypatch.setattr("sys.path", [*sys.path])  # to which `add_folder` adds
    monkeypatch.setattr("forestgaps_core.cli.commands.installed._found", [plugins])  # what commands found before the test
    return plugins
