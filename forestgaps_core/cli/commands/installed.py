"""The installed plugins, searched once per process."""

from __future__ import annotations

from forestgaps_core.plugins.names import list_usable_names
from forestgaps_core.plugins.registry import Plugins

_found: list[Plugins] = []


def plugins() -> Plugins:
    if not _found:
        _found.append(Plugins.discover())
    return _found[0]


def list_installed(kind: str) -> str:
    """Return the names that an option for a component of this kind may have, for its help."""
    return ", ".join(list_usable_names(plugins().components(kind))) or "none is installed"


def forget_plugins() -> None:
    """Search again at the next use, since other plugins are disabled."""
    _found.clear()
