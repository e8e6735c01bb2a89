"""The rules for callbacks: events that exist, with arguments that they have, and a state that survives a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pluggy

from forestgaps_core.hookspecs import PROJECT, TrainingEvents
from forestgaps_core.testing.building import build_component


@contextmanager
def build_callbacks(config: Any, arguments: dict[str, Any], count: int = 1) -> Iterator[list[Any]]:
    """Yield callbacks built from one config; without an argument `run_folder`, in a temporary folder."""
    with TemporaryDirectory() as folder:
        yield [build_component("callbacks", config, **{"run_folder": Path(folder)} | arguments) for _ in range(count)]


def check_events(config: Any, **arguments: Any) -> None:
    """The callback has methods for events, with arguments that these events have."""
    with build_callbacks(config, arguments) as (callback,):
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(TrainingEvents)
        manager.register(callback)
        manager.check_pending()
        assert manager.get_hookcallers(callback), f"{type(callback).__name__} listens to no event"


def check_state(config: Any, **arguments: Any) -> None:
    """The `state_dict`, if there is one, holds the whole state."""
    with build_callbacks(config, arguments, count=2) as (callback, other):
        if hasattr(callback, "state_dict"):
            other.load_state_dict(callback.state_dict())
            assert other.state_dict() == callback.state_dict(), f"{type(callback).__name__} loses state in a checkpoint"


RULES = (check_events, check_state)
