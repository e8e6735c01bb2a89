"""Commands that make a result in one go, killed before a call about files: whole or absent, and made by the same command."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .kill import Strike

pytest.importorskip("rasterio")
ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"
SAME = (".tif", ".fgb", ".safetensors", ".csv", ".toml")  # files whose bytes do not depend on the time
COMMANDS = {
    "simulate": ["simulate", "deep/land", "--size", "32"],
    "simulate, into a folder": ["simulate", ".", "--size", "32"],
    "gaps": ["gaps", "{land}/chm.tif", "-t", "5", "--out", "deep/gaps.fgb", "--statistics", "statistics", "--cells", "20"],
    "gaps, GeoPackage": ["gaps", "{land}/chm.tif", "-t", "5", "--out", "gaps.gpkg"],
    "change": ["change", "{land}/chm.tif", "{land}/chm.tif", "-t", "5", "--out", "deep/change"],
    "publish": ["publish", "{run}", "deep/network"],
    "evaluate": ["evaluate", "{run}", "-t", "5", "--resamples", "100", "--out", "deep/evaluation"],
    "report": ["report", "{run}", "-t", "5", "--out", "deep/report.html"],
    "config init": ["config", "init", "deep/run.toml"],
    "plugins new": ["plugins", "new", "forestgaps-mine", "--kind", "loss", "--folder", "deep/mine"],
}
# Before the marker has its name; with the lock; while the content is written and named; when all has its name.
STRIKES = [2, 5, 9, 14, 20, 30, 50, 80]


def files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def is_draft(name: str) -> bool:
    return any(part.endswith(".partial") for part in name.split("/"))


@pytest.fixture(scope="module")
def arguments(workshop):
    """The words of a command, with what it reads."""
    given = {"land": str(workshop.landscape(96, seed=1)), "run": str(workshop.training().reference)}
    return {name: [word.format(**given) for word in words] for name, words in COMMANDS.items()}


@pytest.mark.parametrize("number", STRIKES if ALL else [20])
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_it_leaves_all_or_nothing_and_the_same_command_makes_it(name, number, arguments, workshop, tmp_path):
    whole = files(workshop.made(f"result {name}", *arguments[name]))
    assert whole
    end = workshop.zygote.run(*arguments[name], cwd=tmp_path, strike=Strike(file=number))
    assert end.status in (0, -signal.SIGKILL), end.output
    again = workshop.zygote.run(*arguments[name], cwd=tmp_path)
    finished = whole.keys() == {file for file in files(tmp_path) if not is_draft(file)}
    assert finished, again.output
    if again.status:  # it was killed when all had its name
        assert "exists" in again.output
    assert files(tmp_path).keys() == whole.keys(), "no draft is left"
    for file, path in files(tmp_path).items():
        if file.endswith(SAME):
            assert path.read_bytes() == whole[file].read_bytes(), file


@pytest.mark.parametrize("name", COMMANDS if ALL else ["gaps", "evaluate"])
def test_when_terminated_it_leaves_nothing(name, arguments, workshop, tmp_path):
    strike = Strike(file=12, signal=signal.SIGTERM)
    end = workshop.zygote.run(*arguments[name], cwd=tmp_path, strike=strike)
    assert end.status in (0, 143, -signal.SIGTERM), end.output
    if end.status:
        assert not files(tmp_path), end.output


@pytest.mark.parametrize("name", COMMANDS)
def test_what_exists_is_reported_at_the_start_and_stays(name, arguments, workshop, tmp_path):
    whole = files(workshop.made(f"result {name}", *arguments[name]))
    taken = sorted(whole)[-1]
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("mine")
    end = workshop.zygote.run(*arguments[name], cwd=tmp_path)
    assert end.status == 2 and "exists" in end.output, end.output
    assert {file: path.read_text() for file, path in files(tmp_path).items()} == {taken: "mine"}
