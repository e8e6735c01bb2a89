"""The smallest packages: how many lines are not the component's own logic, and that those of forestgaps work as wheels."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import RUN_FILE
from .test_third_party import machine as machine

PACKAGES = Path(__file__).parent / "packages" / "wiring"
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "plugins.md"
KINDS = ("loss", "callback", "command")


def count_wiring_lines(package: Path) -> int:
    """Return the lines of a package that are not empty and not marked as the component's own logic."""
    lines = [line for path in package.iterdir() if path.is_file() for line in path.read_text().splitlines() if line.strip()]
    return sum(not line.endswith("# logic") for line in lines)


def test_the_table_of_the_page_has_the_lines_of_the_packages():
    rows = re.findall(r"^\| (\w+) \| ([\d—]+) \| ([\d—]+) \| ([\d—]+) \|$", PAGE.read_text(), re.M)
    found = {name.lower(): counts for name, *counts in rows}
    assert (
        set(found)
        == {path.name.partition("-")[0] for path in PACKAGES.iterdir()}
        == {
            "forestgaps",
            "pytest",
            "llm",
            "spacy",
            "lightning",
        }
    )
    for name, counts in found.items():
        for kind, count in zip(KINDS, counts, strict=True):
            package = PACKAGES / f"{name}-{kind}"
            assert count == (str(count_wiring_lines(package)) if package.exists() else "—"), package.name


def test_the_smallest_packages_work_as_wheels(machine):
    for kind in KINDS:
        source = machine.folder / f"source-{kind}"
        source.mkdir()
        for path in filter(Path.is_file, (PACKAGES / f"forestgaps-{kind}").iterdir()):
            (source / path.name).write_text(path.read_text().replace("  # logic\n", "\n"))
        machine.pip("install", "--no-deps", "--no-build-isolation", str(source))
    run_file = machine.folder / "run.toml"
    with_loss = RUN_FILE.replace('name = "binary"', 'name = "squared"\nweight = 3')
    run_file.write_text(f'{with_loss}\n[callbacks.count]\nname = "counter"\n')
    trained = machine.forestgaps("train", run_file, "--out", "run")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("epoch ") >= 3
    assert 'name = "wiring-loss:squared"\nweight = 3.0' in (machine.folder / "run" / "run.toml").read_text()
    assert machine.forestgaps("hello").stdout == "hello\n"
    assert "Print a greeting." in machine.forestgaps("--help").stdout
    assert "wiring-loss 1.0: loss.squared: right" in machine.forestgaps("plugins", "check", "wiring-loss").stdout
    wrong = machine.forestgaps("config", "check", "run.toml", "--set", "loss.weight=high")
    assert "loss.weight: found 'high', expected a number" in wrong.stderr
