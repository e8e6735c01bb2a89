"""The settings and package versions of a run as one flat table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Hyperparameter = bool | int | float | str


def collect_hyperparameters(about: Mapping[str, Any]) -> dict[str, Hyperparameter]:
    """Return the settings of `Trainer.about` by names such as `loss.gamma`, and package versions as `version.NAME`."""
    packages = dict(about.get("versions", {}))
    packages |= {component["distribution"]: component["version"] for component in about.get("components", {}).values()}
    return flatten(about.get("config", {})) | {f"version.{name}": str(version) for name, version in packages.items()}


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Hyperparameter]:
    """Return `{"loss": {"gamma": 2.0}}` as `{"loss.gamma": 2.0}`, and lists as text."""
    flat: dict[str, Hyperparameter] = {}
    for key, value in table.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        elif isinstance(value, (bool, int, float, str)):
            flat[name] = value
        else:
            flat[name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return flat
