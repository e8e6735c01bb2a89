"""What a run was made with, as one flat table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Plain = bool | int | float | str


def parameters_of(about: Mapping[str, Any]) -> dict[str, Plain]:
    """The resolved config of `Trainer.about`, `loss.focus` and so on, and the version of each package as `version.NAME`."""
    packages = dict(about.get("versions", {}))
    packages |= {component["distribution"]: component["version"] for component in about.get("components", {}).values()}
    return flat(about.get("config", {})) | {f"version.{name}": str(version) for name, version in packages.items()}


def flat(table: Mapping[str, Any], place: str = "") -> dict[str, Plain]:
    """`{"loss": {"focus": 2.0}}` as `{"loss.focus": 2.0}`; lists as text."""
    found: dict[str, Plain] = {}
    for key, value in table.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, name)
        elif isinstance(value, (bool, int, float, str)):
            found[name] = value
        else:
            found[name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found
