"""The tutorial on writing a plugin, typed in by a reader who makes no mistake: every block, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .command_line import CommandLine
from .test_third_party import Machine

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial" / "write-a-plugin.md"
BLOCK = re.compile(r'^(?P<fence>`{3,})(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^(?P=fence)$', re.M | re.S)
# What these would fetch is there already, and no test needs a network.
OFFLINE = {"pip install": "pip install -q --no-deps --no-build-isolation", "pip wheel": "pip wheel -q --no-build-isolation"}
STANDARD = ("forestgaps_landscapes", "forestgaps_losses", "forestgaps_metrics", "forestgaps_models", "forestgaps_normalization")


class Reader(Machine):
    """Types blocks into a shell and an editor; the shell stays in the folder it went to."""

    def __init__(self, folder: Path, command_line: CommandLine, mypy_cache: Path) -> None:
        super().__init__(folder, command_line)
        self.place = folder
        command = folder / "venv" / "bin" / "forestgaps"
        command.write_text(f'#!/bin/sh\nexec "{self.python}" -m forestgaps_core "$@"\n')
        command.chmod(0o755)
        path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        plain = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
        self.environment = {**os.environ, **plain, "MYPY_CACHE_DIR": str(mypy_cache), "PATH": path, "OMP_NUM_THREADS": "1"}

    def type(self, text: str) -> None:
        """Run each line that begins with a prompt, and look for the lines below it in what it prints."""
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            line, _, expected = part.partition("\n")
            for short, long in OFFLINE.items():
                line = line.replace(short, long)
            where = self.folder / "where"
            done = subprocess.run(
                ["bash", "-c", f"{line} && pwd > {where}"],
                cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            assert re.search(pattern(expected), done.stdout, re.S), f"{line}\n{done.stdout}{done.stderr}\nlacks\n{expected}"
            self.place = Path(where.read_text().strip())


def pattern(expected: str) -> str:
    """A regular expression for the output shown on the page: `...` is whatever, and indentation does not matter."""
    lines = [re.escape(line.strip()).replace(r"\.\.\.", ".*?") for line in expected.strip().splitlines()]
    return r"\s*".join(lines)


@pytest.mark.slow  # mypy reads the types of torch
def test_the_tutorial_works_as_printed(tmp_path, command_line, mypy_cache):
    for module in ("hatchling", "ruff", "mypy", *STANDARD):
        pytest.importorskip(module)
    reader = Reader(tmp_path, command_line, mypy_cache)
    kinds = []
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        language, title, text = block["language"], block["title"], block["text"]
        kinds.append((language, title))
        if title:
            (reader.place / title).write_text(text, encoding="utf-8")
        elif language == "console":
            reader.type(text)
        elif language == "python":
            subprocess.run([reader.python, "-c", text], cwd=reader.place, env=reader.environment, check=True, timeout=600)
        else:
            raise AssertionError(f"a block of {language} without a title is typed by nobody")
    assert {language for language, _ in kinds} == {"console", "python", "toml", "markdown"}
    assert reader.place == tmp_path / "forestgaps-charbonnier"


def test_every_fence_of_the_tutorial_is_a_block_that_was_found():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"^`{3,}", BLOCK.sub("", text), re.M)
