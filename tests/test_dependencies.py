"""What the packages say they work with agrees among them, with what was tested, and is of use to who installs them."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
LOCK = ROOT / "requirements" / "tested.txt"


def requirements(file: Path) -> list[Requirement]:
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    lines = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    return [Requirement(line) for line in lines if not line.startswith("forestgaps-")]


def of_others() -> list[tuple[str, Requirement]]:
    return [(file.parent.name, requirement) for file in PROJECTS for requirement in requirements(file)]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {normalized(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: file.parent.name)
def test_every_dependency_has_a_lower_bound(file):
    for requirement in requirements(file):
        assert [part for part in requirement.specifier if part.operator == ">="], f"{requirement}: from which version on?"


def test_packages_agree_on_the_lower_bounds():
    """All but torch, of which only the tested version is tried: `nox -s oldest` tries one set for all."""
    bounds: dict[str, set[str]] = {}
    for _, requirement in of_others():
        bounds.setdefault(requirement.name, set()).update(part.version for part in requirement.specifier if part.operator == ">=")
    assert {name: found for name, found in bounds.items() if len(found) > 1 and name != "torch"} == {}


def test_what_was_tested_is_allowed():
    tested = pins(LOCK)
    for package, requirement in of_others():
        version = tested.get(normalized(requirement.name))
        assert version, f"{requirement.name}, which {package} needs, is not in {LOCK.name}"
        assert requirement.specifier.contains(version), f"{package} does not allow {requirement.name} {version}"


def test_the_lock_holds_exact_versions_and_no_addresses():
    text = LOCK.read_text(encoding="utf-8")
    assert "://" not in text
    assert "@" not in text
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.!]+", line), line
    assert pins(LOCK)["torch"] == pins(ROOT / "constraints.txt")["torch"]
