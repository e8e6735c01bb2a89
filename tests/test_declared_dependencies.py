"""Each package declares every package whose modules it imports, at the top of a module or inside a function."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECTS = {path.parent.name: path.parent for path in sorted((ROOT / "plugins").glob("*/pyproject.toml"))} | {
    "forestgaps-core": ROOT
}
DISTRIBUTIONS = packages_distributions()


def declared(folder: Path) -> set[str]:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project.get("optional-dependencies", {}).values() for line in extra)]
    return {canonicalize_name(Requirement(line).name) for line in lines} | {canonicalize_name(project["name"])}


def imported(package: Path) -> dict[str, str]:
    """Return the top-level modules that a package imports, each with one place."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {name.partition(".")[0]: f"{path.relative_to(ROOT)}:{node.lineno}" for name in names}
    return {name: place for name, place in found.items() if name not in sys.stdlib_module_names}


@pytest.mark.parametrize("name", PROJECTS)
def test_every_import_is_declared(name):
    known = declared(PROJECTS[name])
    places = imported(PROJECTS[name] / name.replace("-", "_"))
    assert places
    for module, place in places.items():
        owners = {canonicalize_name(owner) for owner in DISTRIBUTIONS.get(module, [module])}
        assert owners & known, f"{place} imports {module}, which {name} does not declare"


# Declared for another reason than an import: what a dependency needs, what is loaded by name, or what tables of components name.
NOT_IMPORTED = {
    "forestgaps-baselines": {"bulldozer-dtm"},  # runs in a process of its own
    "forestgaps-mlflow": {"alembic", "numpy", "sqlalchemy"},
    "forestgaps-wandb": {"numpy"},
    "forestgaps-export": {"onnxruntime", "onnxscript"},
    "forestgaps-quantization": {"torchao"},
}


@pytest.mark.parametrize("name", PROJECTS)
def test_every_declared_package_is_imported(name):
    modules = imported(PROJECTS[name] / name.replace("-", "_"))
    used = {canonicalize_name(owner) for module in modules for owner in DISTRIBUTIONS.get(module, [module])}
    others = {other for other in declared(PROJECTS[name]) - {canonicalize_name(name)} if not other.startswith("forestgaps")}
    assert others - used == NOT_IMPORTED.get(name, set())
