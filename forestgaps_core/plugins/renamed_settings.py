"""Settings whose names changed: `field(metadata={"renamed_from": "rarity", "renamed_since": "0.5"})`.

Run files with the old name keep working, with a warning. The resolved run file has the new name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs

log = logging.getLogger("forestgaps")
_reported: set[str] = set()


def list_old_names(config_class: Any) -> list[tuple[str, str, str]]:
    """Return old name, new name and version of the settings that were renamed."""
    fields = attrs.fields(config_class) if attrs.has(config_class) else ()
    found = []
    for attribute in fields:
        old = attribute.metadata.get("renamed_from", ())
        since = str(attribute.metadata.get("renamed_since", ""))
        found += [(str(name), attribute.name, since) for name in ([old] if isinstance(old, str) else old)]
    return found


def explain_old_names(config_class: Any) -> str:
    """Return what is wrong with the old names of a class of settings, or ''."""
    known: dict[str, str] = {attribute.name: attribute.name for attribute in attrs.fields(config_class)}
    for old, new, _ in list_old_names(config_class):
        if old in known:
            other = "a setting itself" if known[old] == old else f"the old name of {known[old]}"
            return f"has the setting {new!r} renamed from {old!r}, which is {other}; remove renamed_from"
        known[old] = new
    return ""


def apply_new_names(
    config_class: Any, table: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, str], list[tuple[tuple[str, ...], str]]]:
    """Return the table with new names, the old names by new name, and mistakes (place inside, sentence)."""
    changed, old_names = dict(table), dict[str, str]()
    mistakes: list[tuple[tuple[str, ...], str]] = []
    for old, new, since in list_old_names(config_class):
        if old not in changed:
            continue
        value = changed.pop(old)
        if new in changed:
            mistakes.append(((old,), f"was renamed to {new}, which is there too; remove one of them"))
            continue
        changed[new], old_names[new] = value, old
        warn_of_old_name(f"the setting {old!r} of {config_class.__qualname__}", new, since)
    return (changed if old_names or mistakes else table), old_names, mistakes


def warn_of_old_name(what: str, new: str, since: str) -> None:
    """Print a warning about an old name, once in a process."""
    sentence = f"{what} was renamed to {new!r}{f' in version {since}' if since else ''}; use the new name"
    if sentence not in _reported:
        _reported.add(sentence)
        log.warning("%s", sentence)
