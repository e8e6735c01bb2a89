"""What `forestgaps --help` takes beside the help of the smallest program of the same library, and what further packages add.

    python benchmarks/startup.py --json startup.json

How to read it: CPU time, user and system together, of whole processes started afresh, in turns (see `interleaved`), and its
ratio to that of the reference: a typer app of two commands that prints its `--help` with rich, from the same environment. The
ratio contains what the project adds: its commands, and finding every installed plugin. `import torch` is what the tables of
plugins spare. Then 50 further packages of four components each are installed (in a folder of their own), and `--help` and
`plugins list` are compared with and without them, in milliseconds and as a ratio. Files are in the disk's cache and compiled
already, by a first round that is not counted. Not on Windows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from interleaved import Comparison, Job, interleaved, record, save, spread, surroundings, table, verdict

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
PACKAGES, MAX_ADDED_MS = 50, 100.0
PACKAGE = """
from forestgaps_core import hookimpl


@hookimpl
def forestgaps_losses():
    return {"NAME_one": "NAME.parts:One", "NAME_two": "NAME.parts:Two"}


@hookimpl
def forestgaps_metrics():
    return {"NAME_three": "NAME.parts:Three", "NAME_four": "NAME.parts:Four"}
"""


def install_packages(folder: Path) -> None:
    """Write packages of four components each, as pip would install them."""
    for number in range(PACKAGES):
        name = f"canopy_{number}"
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: forestgaps-core>=0.1\n"
        for path, text in {
            f"{name}/__init__.py": PACKAGE.replace("NAME", name),
            f"{name}-1.0.dist-info/METADATA": about,
            f"{name}-1.0.dist-info/entry_points.txt": f"[forestgaps]\n{name} = {name}\n",
            f"{name}-1.0.dist-info/RECORD": "",
        }.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")


def compare_packages(folder: Path, rounds: int) -> list[Comparison]:
    """Compare two commands with and without the further packages."""
    install_packages(folder)
    commands = {"forestgaps --help": ["--help"], "forestgaps plugins list": ["plugins", "list"]}
    jobs = {}
    for name, words in commands.items():
        jobs[name] = process(COMMAND, *words)
        jobs[f"{name}, {PACKAGES} further packages"] = process(COMMAND, *words, PYTHONPATH=str(folder))
    seconds = interleaved(jobs, rounds=rounds, clock=cpu_seconds_of_children)
    comparisons = []
    for name in commands:
        more = f"{name}, {PACKAGES} further packages"
        comparisons.append(Comparison(f"{PACKAGES} further packages", {key: seconds[key] for key in (name, more)}, reference=name))
        added_ms = spread([(many - few) * 1e3 for few, many in zip(seconds[name], seconds[more], strict=True)])
        print(f"{more}: {added_ms.median:.0f} ms ({added_ms.low:.0f} to {added_ms.high:.0f}) more  "
              f"{verdict(added_ms.median, MAX_ADDED_MS, ' ms')}")  # fmt: skip
    return comparisons


def cpu_seconds_of_children() -> float:
    """User and system time of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def process(*arguments: str | Path, **variables: str) -> Job:
    """Start, and wait for the end; a process that fails stops the benchmark."""
    environment = variables | {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
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
        further = compare_packages(Path(folder, "packages"), arguments.rounds)
    comparison = Comparison("CPU time of a fresh process", seconds, reference=REFERENCE, goals=GOALS)
    for each in (comparison, *further):
        print(table(each))
    save(arguments.json, {"about": about, "comparison": record(comparison), "further_packages": [*map(record, further)]})


if __name__ == "__main__":
    main()
