"""Report errors of a tracker without stopping the run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from attrs import define, field


@define(eq=False)
class ErrorGuard:
    """Calls functions and catches their errors. The first error is printed as one line on stderr, further ones are not.

    It is not a warning, because `python -W error` would turn that into an error which ends the run.

    Attributes:
        label: The callback's label in the run file.
        failing: Whether the last call failed.
        reported: Whether an error was printed.
    """

    label: str
    failing: bool = field(default=False, init=False)
    reported: bool = field(default=False, init=False)

    def __call__(self, call: Callable[[], object]) -> None:
        """Call the function. Errors are caught, a keyboard interrupt is not."""
        try:
            call()
        except Exception as error:  # trackers raise their own errors and those of the network, the disk and the server
            self.failing = True
            if not self.reported:
                self.reported = True
                reason = (str(error).splitlines() or [""])[0]
                print(
                    f"callbacks.{self.label}: {type(error).__name__}: {reason}; training continues, its log may have gaps",
                    file=sys.stderr,
                )
        else:
            self.failing = False
