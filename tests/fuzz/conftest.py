"""How many cases, how long each may take, and what came of them.

`FORESTGAPS_FUZZ_CASES` is the number of cases of all fuzzing together: a few hundred, the same each time, where it is not set;
as many as it says, new ones each time, where it is. See docs/promises/bad-input.md.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define
from hypothesis import HealthCheck, settings

VARIABLE = "FORESTGAPS_FUZZ_CASES"
CASES = int(os.environ.get(VARIABLE, "300"))
CPU_SECONDS = 10.0  # of a case, before it is called a hang
CLOCK_SECONDS = 120.0  # of a case, before the process is ended with a traceback of where it stands


def fuzzing(share: float) -> Any:
    """Settings for a test that has this share of all cases."""
    return settings(
        max_examples=max(round(CASES * share), 1),
        derandomize=VARIABLE not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@define
class Tally:
    """Of one kind of case."""

    cases: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def add(self, seconds: float, *, accepted: bool) -> None:
        self.cases, self.accepted = self.cases + 1, self.accepted + accepted
        self.seconds, self.slowest = self.seconds + seconds, max(self.slowest, seconds)


@define
class Outcome:
    """What a case came to.

    Attributes:
        accepted: Whether what was tried was right.
        elsewhere: Seconds it took in another process.
    """

    accepted: bool = False
    elsewhere: float = 0.0


TALLIES: dict[str, Tally] = {}


class HangError(AssertionError):
    """A case took too long."""


@contextmanager
def case(kind: str) -> Iterator[Outcome]:
    """One case, counted and timed; it fails if it takes more than `CPU_SECONDS` of processor time."""

    def stop(number: int, frame: object) -> None:
        raise HangError(f"{kind}: more than {CPU_SECONDS:g} s")

    outcome, begin = Outcome(), time.process_time()
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    faulthandler.dump_traceback_later(CLOCK_SECONDS, exit=True)
    try:
        yield outcome
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)
        seconds = time.process_time() - begin + outcome.elsewhere
        TALLIES.setdefault(kind, Tally()).add(seconds, accepted=outcome.accepted)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TALLIES:
        terminalreporter.section("fuzzed")
        for kind, tally in TALLIES.items():
            terminalreporter.write_line(
                f"{kind}: {tally.cases} cases, {tally.accepted} accepted, {tally.seconds:.1f} s, slowest {tally.slowest:.2f} s"
            )
