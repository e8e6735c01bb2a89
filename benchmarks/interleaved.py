"""Fair comparisons on a machine that others use too: jobs take turns, and only ratios within a round count.

Each round runs every job once, in a shuffled order, after a first round that is not counted. A job is timed by the CPU time of
the calling thread, which does not grow while others have the processor; caches and clock speed are still shared, so a ratio to the
reference is taken in every round, and its median over the rounds is what to read. The quartiles beside it say how far to trust it.

    seconds = interleaved({"ours": ours, "theirs": theirs}, rounds=20)
    print(table(Comparison("sums of a million numbers", seconds, reference="theirs", goals={"ours": 0.4})))

Keep each job in one thread (`torch.set_num_threads(1)`); what other threads do is not seen.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import field, frozen

Job = Callable[[], object]


def interleaved(
    jobs: Mapping[str, Job], *, rounds: int, clock: Callable[[], float] = time.thread_time, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds each job took in each round, by `clock`, a function that tells the seconds spent so far."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    order, shuffle = list(jobs), random.Random(seed).shuffle
    for job in jobs.values():
        job()
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            start = clock()
            jobs[name]()
            seconds[name].append(clock() - start)
    return seconds


@frozen
class Spread:
    """The middle of some numbers, and the quarters of them below `low` and above `high`."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


@frozen
class Comparison:
    """Seconds of jobs, by round, and what to hold them against.

    Attributes:
        reference: The job the others are divided by.
        goals: The largest median ratio to be content with, by job.
    """

    title: str
    seconds: Mapping[str, Sequence[float]]
    reference: str
    goals: Mapping[str, float] = field(factory=dict)

    def ratios(self, name: str) -> Spread:
        """Of a job's time to the reference's, round by round."""
        return spread([mine / other for mine, other in zip(self.seconds[name], self.seconds[self.reference], strict=True)])


def verdict(median: float, goal: float | None, unit: str = "") -> str:
    """Such as `goal <= 0.40: met`; nothing without a goal."""
    return "" if goal is None else f"goal <= {goal:{'.0f' if unit else '.2f'}}{unit}: {'met' if median <= goal else 'MISSED'}"


def table(comparison: Comparison) -> str:
    """For people: the median time of each job, its ratio to the reference with quartiles, and its goal."""
    wide = max(map(len, comparison.seconds))
    lines = [comparison.title, f"  {'':{wide}}  median ms   ratio (quartiles)"]
    for name, seconds in comparison.seconds.items():
        ratio = comparison.ratios(name)
        ratio_text = "reference" if name == comparison.reference else f"{ratio.median:5.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
        reached = verdict(ratio.median, comparison.goals.get(name))
        lines.append(f"  {name:{wide}}  {spread(seconds).median * 1e3:9.1f}   {ratio_text}   {reached}".rstrip())
    return "\n".join(lines)


def record(comparison: Comparison) -> dict[str, Any]:
    """For machines: the same, with the seconds of every round."""
    jobs = {}
    for name, seconds in comparison.seconds.items():
        ratio = comparison.ratios(name)
        jobs[name] = {
            "seconds": list(seconds),
            "ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
            "goal": comparison.goals.get(name),
        }
    return {"title": comparison.title, "reference": comparison.reference, "jobs": jobs}


def surroundings(packages: Iterable[str]) -> dict[str, str]:
    """What the numbers depend on: machine, Python, and the versions of those packages that are installed."""
    found = {"machine": f"{platform.machine()}, {os.cpu_count()} CPUs", "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def save(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write JSON, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {path}")
