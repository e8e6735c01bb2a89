"""A run is worth more than its log."""

from __future__ import annotations

import sys
from collections.abc import Callable

from attrs import define, field


@define(eq=False)
class Guard:
    """Keeps whatever befalls a tracker away from the run: the first error is a line on stderr, the others are silent.

    A line and not a warning, which `python -W error` would turn into the end of the run.

    Attributes:
        label: Of the callback in the run file.
        failing: Whether the last call failed.
    """

    label: str
    failing: bool = field(default=False, init=False)
    told: bool = field(default=False, init=False)

    def __call__(self, call: Callable[[], object]) -> None:
        """Make the call; what it raises is told and not raised, unless it is an interruption by the user."""
        try:
            call()
        except Exception as error:  # trackers raise errors of their own, of the network, of the disk and of their server
            self.failing = True
            if not self.told:
                self.told = True
                reason = (str(error).splitlines() or [""])[0]
                print(
                    f"callbacks.{self.label}: {type(error).__name__}: {reason}; training goes on, its log may have gaps",
                    file=sys.stderr,
                )
        else:
            self.failing = False
