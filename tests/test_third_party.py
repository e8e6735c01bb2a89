"""What the author of a plugin, and the person who installs it, will meet: real packages, installed with pip."""

from __future__ import annotations

import json
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .command_line import CommandLine
from .conftest import EXAMPLE_PLUGIN, RUN_FILE

PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
dependencies = ["{requires}"]

[project.entry-points.forestgaps]
{name} = "{module}"

[tool.setuptools]
py-modules = ["{module}", "{module}_parts"]
"""

CONTENTS = """
from forestgaps_core import hookimpl

@hookimpl
def forestgaps_losses():
    return {"squared": "MODULE_parts:Squared"}

@hookimpl
def forestgaps_callbacks():
    return {"counter": "MODULE_parts:CounterConfig"}
"""

PARTS = '''
from attrs import define, field, frozen
from attrs.validators import gt
from forestgaps_core import hookimpl

@frozen(kw_only=True)
class Squared:
    """Squared distance of probability and target."""
    scale: float = field(default=1.0, validator=gt(0), metadata={"help": "Factor on the loss."})
    def build(self):
        def squared(logits, batch):
            cost = (logits.sigmoid() - batch.target).square() * batch.valid
            return self.scale * cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)
        return squared

@define(eq=False)
class Counter:
    path: object
    steps: int = 0
    @hookimpl
    def step_end(self):
        self.steps += 1
    @hookimpl
    def fit_end(self):
        self.path.write_text(str(self.steps))

@frozen(kw_only=True)
class CounterConfig:
    """Counts steps into a file."""
    file: str = field(default="steps.txt", metadata={"help": "Name of the file in the run folder."})
    def build(self, run_folder):
        return Counter(run_folder / self.file)
'''


class Machine:
    """An environment of its own that sees what this one has, with pip."""

    def __init__(self, folder: Path, command_line: CommandLine) -> None:
        self.folder, self.command_line, self.environment = folder, command_line, dict[str, str]()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.python = folder / "venv" / "bin" / "python"
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        self.packages = packages
        lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
        (packages / "shared.pth").write_text("\n".join(lines) + "\n")

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments, "-q", "--disable-pip-version-check"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def install(self, name, contents=CONTENTS, *, version="0.3.1", requires="forestgaps-core>=0.1"):
        module = name.replace("-", "_")
        source = self.folder / name
        source.mkdir()
        (source / "pyproject.toml").write_text(PROJECT.format(name=name, version=version, requires=requires, module=module))
        (source / f"{module}.py").write_text(textwrap.dedent(contents).replace("MODULE", module))
        (source / f"{module}_parts.py").write_text(PARTS)
        self.pip("install", "--no-deps", "--no-build-isolation", str(source))

    def forestgaps(self, *arguments, local=True):
        mine = ["-p", str(EXAMPLE_PLUGIN)] if local else []
        done = self.command_line(*mine, *arguments, folder=self.folder, search=self.packages, COLUMNS="200", **self.environment)
        return subprocess.CompletedProcess(arguments, done.status, done.out, done.err)


@pytest.fixture
def machine(tmp_path, command_line):
    return Machine(tmp_path, command_line)


def test_a_plugin_made_from_nothing_is_used_by_name_and_missed_when_it_is_gone(machine):
    machine.install("canopy-extras")
    run_file = machine.folder / "run.toml"
    run_file.write_text(
        RUN_FILE.replace('name = "binary"', 'name = "squared"\nscale = 2') + '\n[callbacks.count]\nname = "counter"\n'
    )
    trained = machine.forestgaps("train", run_file, "--out", "run")
    assert trained.returncode == 0, trained.stderr
    assert (machine.folder / "run" / "steps.txt").read_text() == "12"
    assert json.loads((machine.folder / "run" / "versions.json").read_text())["canopy-extras"] == "0.3.1"

    machine.pip("uninstall", "-y", "canopy-extras")
    missed = machine.forestgaps("train", run_file, "--out", "again")
    assert missed.returncode == 2
    assert "loss.name: no loss named 'squared'" in missed.stderr
    assert "callbacks.count.name: no callback named 'counter'" in missed.stderr
    assert "install that package" in missed.stderr
    resumed = machine.forestgaps("train", "--resume", "run")
    assert resumed.returncode == 2
    errors = [line for line in resumed.stderr.splitlines() if not line.startswith("Still loading")]  # of a busy machine
    assert errors == ["Error: the run run cannot be used: canopy-extras 0.3.1 is not installed: pip install canopy-extras==0.3.1"]


def test_broken_plugins_are_reported_and_everything_else_continues(machine):
    machine.install("a-good-one")
    machine.install("broken-import", "raise RuntimeError('the moon is full')", version="1.1")
    machine.install("broken-hook", CONTENTS.replace("forestgaps_losses", "forestgaps_lossses"), version="1.2")
    machine.install("broken-requirement", CONTENTS, version="1.3", requires="forestgaps-core>=42")
    machine.install("same-name", CONTENTS, version="1.4")

    assert machine.forestgaps("--help", local=False).returncode == 0
    listed = machine.forestgaps("plugins", "list", local=False)
    assert listed.returncode == 0
    for line in (
        "broken-import 1.1  BROKEN (import): RuntimeError: the moon is full",
        "broken-hook 1.2  BROKEN (hooks): implements 'forestgaps_lossses', which is not a hook (did you mean 'forestgaps_losses'?)",
        "broken-requirement 1.3  BROKEN (requirement): needs forestgaps-core >=42",
        "CLASH: loss.squared is offered by a-good-one 0.3.1 and same-name 1.4",
    ):
        assert line in listed.stdout

    unrelated = machine.folder / "unrelated.toml"
    unrelated.write_text(RUN_FILE)
    done = machine.forestgaps("train", unrelated, "--out", "unrelated")
    assert done.returncode == 0, done.stderr

    related = machine.folder / "related.toml"
    related.write_text(RUN_FILE.replace('name = "binary"', 'name = "squared"'))
    clash = machine.forestgaps("train", related, "--out", "related")
    assert clash.returncode == 2
    assert 'choose with name = "a-good-one:squared" or name = "same-name:squared"' in clash.stderr
    related.write_text(RUN_FILE.replace('name = "binary"', 'name = "same-name:squared"'))
    chosen = machine.forestgaps("train", related, "--out", "related")
    assert chosen.returncode == 0, chosen.stderr
    assert 'name = "same-name:squared"' in (machine.folder / "related" / "run.toml").read_text()

    related.write_text(RUN_FILE.replace('name = "binary"', 'name = "only_in_the_broken_one"'))
    missing = machine.forestgaps("train", related, "--out", "missing")
    assert missing.returncode == 2
    assert "Not loaded: broken-hook 1.2 (hooks:" in missing.stderr
    assert "broken-import 1.1 (import: RuntimeError: the moon is full)" in missing.stderr
