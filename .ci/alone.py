"""Test packages of the project each alone: in an environment that holds what the package declares, and nothing else.

`python .ci/alone.py FOLDER [--tests] PACKAGE...` makes `FOLDER/PACKAGE` with links to what is installed here. Nothing is
downloaded. There it imports each module of the package and runs `forestgaps plugins check`; with `--tests`, also its tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
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


def main(folder: Path, packages: list[str], *, tests: bool) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = pool.map(lambda name: passes(name, environment_of(name, folder / name), tests=tests), packages)
        failed = [name for name, fine in zip(packages, passed, strict=True) if not fine]
    if failed:
        sys.exit(f"not alone: {', '.join(failed)}. Declare in pyproject.toml what the package imports.")


def passes(name: str, python: Path, *, tests: bool) -> bool:
    commands = [["-c", IMPORT_ALL, name.replace("-", "_")]]
    if entry_points(group="forestgaps", name=name):
        commands.append(["-m", "forestgaps_core", "plugins", "check", name])
    if tests:
        commands.append(["-m", "pytest", "-q", f"plugins/{name}"])
    for command in commands:
        done = subprocess.run([str(python), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            print(f"--- {name}: {' '.join(command[-3:])}\n{done.stdout}", flush=True)
            return False
    print(f"--- {name}: right", flush=True)
    return True


def environment_of(name: str, folder: Path) -> Path:
    """Return the Python of a new environment in `folder` with the package, all its extras, and the tools that run tests."""
    venv.EnvBuilder(clear=True, symlinks=True).create(folder)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    extras = distribution(name).metadata.get_all("Provides-Extra") or []
    wanted = needed_by([f"{name}[{','.join(extras)}]", *TEST_TOOLS])
    owners = owners_of_top_level()
    for found in wanted.values():
        for file in found.files or ():
            top = file.parts[0]
            shared = not owners[top] <= wanted.keys()  # a namespace, such as `google`, with parts of packages not wanted here
            link = site_packages / (file if shared else top)
            if top not in ("..", "__pycache__") and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(file if shared else top))))
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


def owners_of_top_level() -> dict[str, set[str]]:
    """Return which distributions have files in each file or folder of site-packages."""
    owners = defaultdict(set)
    for found in distributions():
        for file in found.files or ():
            owners[file.parts[0]].add(canonicalize_name(found.metadata["Name"]))
    return owners


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--tests"]
    main(Path(words[0]), words[1:], tests="--tests" in sys.argv)
