"""Which of the project's packages offers which name, for messages about packages that are not installed.

docs/generate.py writes `first_party.json` from the tables of the packages; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forestgaps_core.files.bounded_reading import read_json
from forestgaps_core.plugins.names import Plugin, format_install_command, normalize_name


def find_package(table: str, name: str) -> str:
    """Return the distribution that offers a name in a table, such as "loss" or "command"; '' if none of the project's does."""
    packages: dict[str, dict[str, list[str]]] = read_json(Path(__file__).with_name("first_party.json"))
    return next((package for package, tables in packages.items() if name in tables.get(table, ())), "")


def explain_missing_package(table: str, name: str, plugins: Iterable[Plugin]) -> str:
    """Return "comes with PACKAGE, which is not installed; pip install PACKAGE", or ''.

    Args:
        name: That no plugin offers. The sentence is '' if none of the project's packages offers it either, and if the installed
            version of the package does not.
        plugins: All that are known, working or not.
    """
    owner = find_package(table, name)
    plugin = next((plugin for plugin in plugins if normalize_name(plugin.distribution) == owner), None)
    if owner and plugin is None:
        return f"comes with {owner}, which is not installed{format_install_command(owner)}"
    if plugin is not None and plugin.failed and plugin.failed != "table":
        return f"comes with {plugin}, which cannot be loaded ({plugin.failed}: {plugin.reason})"
    return ""
