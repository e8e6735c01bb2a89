"""The line that installs the standard packages from a clone: what it installs, and that every page has the same."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements" / "standard.txt"
LINE = "python -m pip install -c constraints.txt -r requirements/standard.txt"
PAGES = ("README.md", "docs/index.md", "docs/tutorial/first-run.md", "docs/tutorial/own-rasters.md", "requirements/standard.txt")

pytestmark = pytest.mark.skipif(not REQUIREMENTS.is_file(), reason="no checkout")


def project_of(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def installed():
    """Extras of each package that the file installs, by name; every line is `-e FOLDER` or `-e FOLDER[EXTRAS]`."""
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    matches = [re.fullmatch(r"-e ([\w./-]+)(?:\[([\w,]+)\])?", line) for line in lines]
    return {project_of(match[1])["name"]: set((match[2] or "").split(",")) - {""} for match in matches}


def needed(requirements):
    """Extras of each of the project's packages that requirements lead to, by name."""
    found, waiting = {}, [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        if not requirement.name.startswith("forestgaps-"):
            continue
        new = requirement.extras - found.get(requirement.name, set())
        if new or requirement.name not in found:
            found[requirement.name] = found.get(requirement.name, set()) | requirement.extras
            project = project_of("." if requirement.name == "forestgaps-core" else f"plugins/{requirement.name}")
            optional = project.get("optional-dependencies", {})
            waiting += map(Requirement, [*project["dependencies"], *(text for extra in new for text in optional[extra])])
    return found


def test_the_file_installs_what_the_extra_standard_names_and_needs():
    standard = project_of(".")["optional-dependencies"]["standard"]
    wanted, found = needed(standard), installed()
    assert found.keys() == wanted.keys(), "make requirements/standard.txt and the extra `standard` of pyproject.toml name the same"
    chosen = {Requirement(text).name: Requirement(text).extras for text in standard}
    assert {name: found[name] for name in chosen} == chosen


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_the_line(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(re.findall(rf"^(#\s+)?{re.escape(LINE)}$", text, re.M)) == 1
    assert "-e plugins/forestgaps-losses" not in text or page.endswith(".txt")


def test_the_demo_installs_by_the_line():
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ["python", "-m", "pip", "install", *ast.literal_eval(values["STANDARD"])] == LINE.split()
    (demo,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "demo"]
    assert "session.install(*STANDARD)" in ast.unparse(demo)
    assert "install_project" not in ast.unparse(demo)
