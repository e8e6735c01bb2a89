"""What `forestgaps --help` takes beside the help of the smallest program that is built with the same library.

    python benchmarks/startup.py --json startup.json

How to read it: CPU time, user and system together, of whole processes started afresh, in turns (see `interleaved`), and its
ratio to that of the reference: a typer app of two commands that prints its `--help` with rich, from the same environment. The
ratio contains what the project adds: its commands, and finding every installed plugin. `import torch` is what the tables of
plugins spare. Files are in the disk's cache and compiled already, by a first round that is not counted. Not on Windows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from interleaved import Comparison, Job, interleaved, record, save, surroundings, table

COMMAND = Path(sys.executable).with_name("forestgaps")
REFERENCE = "typer app of two commands, --help"
TWO_COMMANDS = '''
import typer

app = typer.Typer(help="Two commands.")


@app.command()
def one(name: str = "x") -> None:
    """The first command."""


@app.command()
def two(count: int = 1) -> None:
    """The second command."""


app()
'''
GOALS = {"forestgaps --help": 1.4}


def cpu_seconds_of_children() -> float:
    """User and system time of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def process(*arguments: str | Path) -> Job:
    """Start, and wait for the end; a process that fails stops the benchmark."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="processes started of each kind")
    parser.add_argument("--json", type=Path, help="file for the seconds of every process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "two_commands.py")
        app.write_text(TWO_COMMANDS, encoding="utf-8")
        jobs = {
            REFERENCE: process(sys.executable, app, "--help"),
            "forestgaps --help": process(COMMAND, "--help"),
            "forestgaps plugins list": process(COMMAND, "plugins", "list"),
            "python -c pass": process(sys.executable, "-c", "pass"),
            "python -c 'import torch'": process(sys.executable, "-c", "import torch"),
        }
        about = surroundings(["forestgaps-core", "pluggy", "attrs", "typer", "rich", "torch"])
        print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
        seconds = interleaved(jobs, rounds=arguments.rounds, clock=cpu_seconds_of_children)
    comparison = Comparison("CPU time of a fresh process", seconds, reference=REFERENCE, goals=GOALS)
    print(table(comparison))
    save(arguments.json, {"about": about, "comparison": record(comparison)})


if __name__ == "__main__":
    main()
