"""A tracker whose store is a list of what was logged. It can be made to fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from torch import Tensor

from forestgaps_tracking.tracker import ServiceSettings, ServiceTracker


@frozen(kw_only=True)
class ListConfig(ServiceSettings):
    """Logs a run to a list."""

    def build(self, run_folder: Path, label: str) -> ListTracker:
        return ListTracker(config=self, run_folder=run_folder, label=label)


@define(eq=False)
class ListStore:
    fails: set[str] = field(factory=set)
    logged: list[tuple[Any, ...]] = field(factory=list)

    def add(self, *what: Any) -> None:
        if what[0] in self.fails:
            raise ConnectionError(f"{what[0]}: no route to host")
        self.logged.append(what)

    def kinds(self) -> list[str]:
        return [what[0] for what in self.logged]

    def log_pictures(self, pictures: Iterable[tuple[str, Tensor]], step: int) -> None:
        self.add("pictures", step, [name for name, _ in pictures])

    def log_curves(self, curves: Iterable[tuple[str, list[list[float]]]], step: int) -> None:
        self.add("curves", step, [name for name, _ in curves])

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        self.add("checkpoints", [file.name for file in files])

    def log_network(self, network: Mapping[str, Any], scores: Mapping[str, float], step: int) -> None:
        self.add("network", step, dict(scores))

    def close(self, scores: Mapping[str, float], *, failed: bool, complete: bool) -> None:
        self.add("close", failed, complete)


@define(eq=False)
class ListTracker(ServiceTracker):
    store: ListStore = field(init=False)

    def make_store(self) -> ListStore:
        return ListStore()

    def open(self, trainer: Any) -> None:
        self.guard(lambda: self.store.add("open", trainer.step))

    def log_scalars(self, values: Mapping[str, float], step: int, *, end_of_epoch: bool) -> None:
        self.guard(lambda: self.store.add("scores" if end_of_epoch else "steps", step, dict(values)))

    def state_dict(self) -> dict[str, Any]:
        return {"logged": [list(map(str, what)) for what in self.store.logged], **self.interval.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.store.logged = [tuple(what) for what in state["logged"]]
        self.interval.load_state_dict(state)
