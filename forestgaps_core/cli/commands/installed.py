"""The installed plugins, searched once per process."""

from __future__ import annotations

from forestgaps_core.plugins.registry import Plugins

_found: list[Plugins] = []


def plugins() -> Plugins:
    if not _found:
        _found.append(Plugins.discover())
    return _found[0]


def forget_plugins() -> None:
    """Search again at the next use, since other plugins are disabled."""
    _found.clear()
