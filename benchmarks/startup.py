"""How long the command line keeps a person waiting before it does anything.

    python benchmarks/startup.py --json startup.json

How to read it: CPU time, user and system together, of whole processes started afresh, in turns (see `interleaved`); the median over
the rounds, with quartiles. `python -c pass` is what no Python program can do without, `import torch` what the table of plugins
spares. Files are in the disk's cache and compiled already, by a first round that is not counted. Not on Windows.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from interleaved import Job, Spread, interleaved, save, spread, surroundings, verdict

GOAL_MS = 250.0
COMMAND = Path(sys.executable).with_name("forestgaps")
GOALS = {"forestgaps --help": GOAL_MS, "forestgaps plugins list": GOAL_MS}


def cpu_seconds_of_children() -> float:
    """User and system time of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def process(*arguments: str | Path) -> Job:
    """Start, and wait for the end; a process that fails stops the benchmark."""
    return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def line(name: str, ms: Spread, wide: int) -> str:
    told = f"  {name:{wide}}  {ms.median:7.0f} ({ms.low:.0f} to {ms.high:.0f})"
    return f"{told}   {verdict(ms.median, GOALS.get(name), ' ms')}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="processes started of each kind")
    parser.add_argument("--json", type=Path, help="file for the seconds of every process")
    arguments = parser.parse_args()
    jobs = {
        "python -c pass": process(sys.executable, "-c", "pass"),
        "python -c 'import torch'": process(sys.executable, "-c", "import torch"),
        "forestgaps --help": process(COMMAND, "--help"),
        "forestgaps plugins list": process(COMMAND, "plugins", "list"),
    }
    about = surroundings(["forestgaps-core", "pluggy", "attrs", "cattrs", "typer", "rich", "torch"])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    seconds = interleaved(jobs, rounds=arguments.rounds, clock=cpu_seconds_of_children)
    spreads = {name: spread([second * 1e3 for second in taken]) for name, taken in seconds.items()}
    wide = max(map(len, jobs))
    print(f"  {'CPU time of a fresh process':{wide}}  median ms (quartiles)")
    print("\n".join(line(name, ms, wide) for name, ms in spreads.items()))
    rows = [
        {"what": f"{name}, CPU milliseconds", "value": ms.median, "low": ms.low, "high": ms.high, "goal": GOALS[name]}
        for name, ms in spreads.items()
        if name in GOALS
    ]
    save(arguments.json, {"about": about, "seconds": seconds, "rows": rows})


if __name__ == "__main__":
    main()
