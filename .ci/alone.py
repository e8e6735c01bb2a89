"""Test packages of the project each alone: in an environment that holds what the package declares, and nothing else.

`python .ci/alone.py FOLDER [--tests] PACKAGE...` makes `FOLDER/PACKAGE` with links to what is installed here. Nothing is
downloaded. There it imports each module of the package and runs `forestgaps plugins check`; with `--tests`, also its tests.
With the core alone it prints the help and the list of plugins, and trains a network with `Trainer`.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import Distribution, distribution, distributions, entry_points
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis", "setuptools", "hatchling", "editables")
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


CORE = "forestgaps-core"
CORE_COMMANDS = (["--help"], ["plugins", "list"], ["config", "explain"])
# What a script or notebook does with the core alone: a network, a loss and batches of its own.
TRAINER = """
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from forestgaps_core import Trainer
from forestgaps_core.testing import example_batch

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, dsm, valid, thresholds):
        relief = dsm - dsm.mean((2, 3), keepdim=True)
        return thresholds[:, :, None, None] / 10 + self.convolution(relief)

def loss(logits, batch):
    return binary_cross_entropy_with_logits(logits, batch.target)

network = Network()
batches = [example_batch(seed=seed, size=32) for seed in range(4)]
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
trainer = Trainer(model=network, loss=loss, optimizer=optimizer)
trainer.fit(batches, validation=batches[:1], epochs=2)
assert trainer.step == 8 and trainer.scores["train/loss"] > 0, trainer.scores
"""


def main(folder: Path, packages: list[str], *, tests: bool) -> None:
    owners_of_top_level()  # once for all threads
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = pool.map(lambda name: passes(name, environment_of(name, folder / name), tests=tests), packages)
        failed = [name for name, fine in zip(packages, passed, strict=True) if not fine]
    if failed:
        sys.exit(f"not alone: {', '.join(failed)}. Declare in pyproject.toml what the package imports.")


def passes(name: str, python: Path, *, tests: bool) -> bool:
    commands = [["-c", IMPORT_ALL, name.replace("-", "_")]]
    if name == CORE:
        commands += [["-m", "forestgaps_core", *words] for words in CORE_COMMANDS]
        commands.append(["-c", TRAINER])
    if entry_points(group="forestgaps", name=name):
        commands.append(["-m", "forestgaps_core", "plugins", "check", name])
    if tests and name != CORE:  # the tests of the core need its extras
        commands.append(["-m", "pytest", "-q", f"plugins/{name}"])
    for command in commands:
        done = subprocess.run([str(python), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            print(f"--- {name}: {' '.join(command[-3:])}\n{done.stdout}", flush=True)
            return False
    print(f"--- {name}: right", flush=True)
    return True


def environment_of(name: str, folder: Path) -> Path:
    """Return the Python of a new environment in `folder` with the package, all its extras, and the tools that run tests.

    The core comes without its extras, which bring the plugins.
    """
    venv.EnvBuilder(clear=True, symlinks=True).create(folder)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    extras = [] if name == CORE else distribution(name).metadata.get_all("Provides-Extra") or []
    wanted = needed_by([f"{name}[{','.join(extras)}]", *TEST_TOOLS])
    for owner, found in wanted.items():
        for top, files in installed_files()[owner].items():
            shared = not owners_of_top_level()[top] <= wanted.keys()  # a namespace, such as `google`, with parts not wanted here
            for file in files if shared else [top]:
                link = site_packages / file
                if not link.exists():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(Path(str(found.locate_file(file))))
    (python,) = [path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists()]
    return python


def needed_by(requirements: list[str]) -> dict[str, Distribution]:
    """Return the installed distributions that these requirements lead to, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found[name] = found.get(name) or distribution(name)
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for line in found[name].requires or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return found


@cache
def installed_files() -> dict[str, dict[str, list[str]]]:
    """Return the files of each installed distribution, by the file or folder of site-packages that they are in."""
    files: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for found in distributions():
        owned = files[canonicalize_name(found.metadata["Name"])]  # parsed anew each time, so not in the loop
        for file, *_ in csv.reader((found.read_text("RECORD") or "").splitlines()):
            top = file.partition("/")[0]
            if top not in ("..", "__pycache__"):
                owned[top].append(file)
    return files


@cache
def owners_of_top_level() -> dict[str, set[str]]:
    """Return which distributions have files in each file or folder of site-packages."""
    owners = defaultdict(set)
    for name, files in installed_files().items():
        for top in files:
            owners[top].add(name)
    return owners


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--tests"]
    main(Path(words[0]), words[1:], tests="--tests" in sys.argv)
