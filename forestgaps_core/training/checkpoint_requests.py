"""Checkpoints that callbacks ask for: written after all callbacks have received an event, on a disk that may fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core.errors import DiskError
from forestgaps_core.files.checkpoint import save_checkpoint

log = logging.getLogger("forestgaps")


@define(eq=False)
class CheckpointRequests:
    """Paths of the checkpoints to write.

    Attributes:
        paths: Those asked for since the last writing.
        unwritten: Those that the disk did not take; reported once, and removed when a later write succeeds.
    """

    paths: list[Path] = field(factory=list, init=False)
    unwritten: set[Path] = field(factory=set, init=False)

    def add(self, path: Path) -> None:
        if path not in self.paths:
            self.paths.append(path)

    def write(self, state: Callable[[], Mapping[str, Any]], *, here: bool = True) -> None:
        """Write a checkpoint to each path. A disk that fails does not end the run: the next checkpoint may be written.

        Args:
            here: Whether this process writes them; if not, another one does.
        """
        while self.paths:
            path = self.paths.pop(0)
            if not here:
                continue
            try:
                save_checkpoint(path, state())
            except DiskError as error:
                if path not in self.unwritten:
                    log.warning("%s; training continues", error)
                self.unwritten.add(path)
            else:
                self.unwritten.discard(path)
