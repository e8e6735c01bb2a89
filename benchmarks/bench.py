"""All ratios in one table: `nox -s bench` runs this.

    python benchmarks/bench.py                     # quick: some minutes
    python benchmarks/bench.py --full --out bench  # as the page on performance was measured: an hour

Runs the other benchmarks one after the other, each in a process of its own, and prints the output of each, then one table of goals
and results. Every number, round by round, is in a JSON file of each in the folder `--out`; the table is in `summary.json`. A missed
goal is no failure: the exit status says only whether all could be run.

How to read it: see benchmarks/README.md and the page Performance of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from interleaved import save

HERE = Path(__file__).parent


@frozen
class Bench:
    """A benchmark, with what its quick and its full run are given."""

    script: str
    quick: Sequence[str]
    full: Sequence[str]


BENCHES = (
    Bench("trainer_overhead.py", ("--rounds", "5"), ("--rounds", "25")),
    Bench("step_parts.py", ("--rounds", "7"), ("--rounds", "31")),
    Bench("losses_and_metrics.py", ("--rounds", "5"), ("--rounds", "31")),
    Bench("data_speed.py", ("--rounds", "2", "--batches", "4", "--side", "4096"), ("--rounds", "7")),
    Bench("prepare_speed.py", ("--rounds", "2", "--size", "3000"), ("--rounds", "7", "--size", "8000")),
    Bench("predict_speed.py", ("--rounds", "1", "--side", "1024"), ("--rounds", "5", "--side", "4096")),
    Bench("gap_vectors.py", ("--rounds", "2", "--size", "2048"), ("--rounds", "3", "--size", "16384")),
    Bench("engines.py", ("--rounds", "3", "--networks", "ground_unet", "--ways", "folded", "bf16", "--sizes", "256"), ()),
    Bench("startup.py", ("--rounds", "5"), ("--rounds", "21")),
    Bench("growth.py", ("--quick", "--rounds", "1"), ("--rounds", "3", "--figures", "docs/assets")),
)


@frozen
class Row:
    """A result and its goal; both None where there is none."""

    what: str
    value: float
    low: float | None
    high: float | None
    goal: float | None

    def __str__(self) -> str:
        spread = f"({self.low:.3g} to {self.high:.3g})" if self.low is not None and self.high is not None else ""
        goal = "" if self.goal is None else f"{self.goal:.3g}"
        verdict = "" if self.goal is None else "met" if self.value <= self.goal else "MISSED"
        return f"  {self.what[:78]:78} {goal:>8} {self.value:9.3g} {spread:20} {verdict}".rstrip()


def rows(result: Mapping[str, Any]) -> Iterator[Row]:
    """Those with a goal, of what a benchmark wrote."""
    comparisons = [*result.get("comparisons", []), *([result["comparison"]] if "comparison" in result else [])]
    for comparison in comparisons:
        for name, job in comparison["jobs"].items():
            if job.get("goal") is not None:
                ratio = job["ratio"]
                what = f"{comparison['title']}: {name}, to {comparison['reference']}"
                yield Row(what, ratio["median"], ratio["low"], ratio["high"], job["goal"])
    for row in result.get("rows", []):
        yield Row(row["what"], row["value"], row.get("low"), row.get("high"), row["goal"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="names of benchmarks, such as step_parts; all by default")
    parser.add_argument("--full", action="store_true", help="as many rounds, and as large, as the page on performance says")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the JSON files")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    found: dict[str, list[Row]] = {}
    failed = []
    for bench in BENCHES:
        path, name = HERE / bench.script, bench.script.removesuffix(".py")
        if not path.exists() or (arguments.only and name not in arguments.only):
            continue
        result = arguments.out / f"{name}.json"
        result.unlink(missing_ok=True)
        print(f"--- {name}", flush=True)
        options = bench.full if arguments.full else bench.quick
        command = [sys.executable, str(path), *options, "--json", str(result)]
        code = subprocess.run(command, env={"OMP_NUM_THREADS": "1", **os.environ}).returncode
        print(flush=True)
        if code or not result.exists():
            failed.append(name)
        else:
            found[name] = list(rows(json.loads(result.read_text())))
    print(f"  {'a ratio is to what stands after `to`; at most the goal is wanted':78} {'goal':>8} {'result':>9} (quartiles)")
    for name, some in found.items():
        print(f"{name}\n" + "\n".join(map(str, some)) if some else f"{name}: no goals")
    missed = [row for some in found.values() for row in some if row.goal is not None and row.value > row.goal]
    print(f"\n{sum(map(len, found.values())) - len(missed)} goals met, {len(missed)} missed")
    summary = {name: [asdict(row) for row in some] for name, some in found.items()}
    save(arguments.out / "summary.json", {"results": summary, "failed": failed})
    if failed:
        sys.exit(f"could not be run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
