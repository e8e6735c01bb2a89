"""Everything the project can do to itself. `nox -l` lists it; every environment is made through constraints.txt."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from itertools import chain
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").is_file())
CONSTRAINTS = ("-c", "constraints.txt")
TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100", "setuptools>=68", "hatchling>=1.25", "editables>=0.5")
# References the tests hold components against; each test that needs one is skipped without it.
PEERS = (
    *("numpy", "scipy", "scikit-learn", "torchmetrics", "monai", "matplotlib", "pillow", "ruff>=0.12", "mypy>=1.15"),
    *("geopandas", "shapely", "lxml", "playwright", "pystac-core", "pystac-ext-mlm", "jsonschema"),
)


def install_all(session: nox.Session, *tools: str) -> None:
    """The core and every plugin, editable, with these tools, in one resolution."""
    editable = [part for name in PLUGINS for part in ("-e", f"plugins/{name}")]
    session.install(*CONSTRAINTS, "-e", ".", *editable, *tools)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with branch coverage, as many at once as there are cores."""
    install_all(session, *TEST_TOOLS, *PEERS, "pytest-cov>=6", "pytest-xdist>=3.6")
    session.env["OMP_WAIT_POLICY"] = "PASSIVE"  # threads of processes that share cores would wait in each other's way
    data = os.environ.get("FORESTGAPS_DATA")
    if not data and (ROOT.parent / "shared" / "data").is_dir():
        session.env["FORESTGAPS_DATA"] = str(ROOT.parent / "shared" / "data")
    session.run("pytest", "--numprocesses=auto", "--dist=loadfile", "--cov", "--cov-report=term:skip-covered", *session.posargs)


@nox.session
def alone(session: nox.Session) -> None:
    """Each plugin alone with the core: proves what it says it depends on."""
    session.install(*CONSTRAINTS, *TEST_TOOLS, "-e", ".")
    base = frozen(session)
    for name in [name for name in PLUGINS if not session.posargs or name in session.posargs]:
        session.install(*CONSTRAINTS, *editable(name))
        try:
            session.run("python", "-m", "pytest", "-q", f"plugins/{name}")
        finally:
            added = sorted(frozen(session) - base)
            session.run("python", "-m", "pip", "uninstall", "-q", "-y", *added)


def editable(name: str) -> list[str]:
    """A plugin with all its extras, and those of the project's own packages that it says it needs, as pip is told."""
    project = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    extras = f"[{','.join(optional)}]" if optional else ""
    needed = {re.split(r"[^\w-]", line)[0] for line in chain(project["dependencies"], *optional.values())}
    own = sorted(needed & set(PLUGINS) - {name})
    return [part for folder in [f"plugins/{name}{extras}", *(f"plugins/{own_name}" for own_name in own)] for part in ("-e", folder)]


def frozen(session: nox.Session) -> set[str]:
    """Names of what is installed."""
    listed = session.run("python", "-m", "pip", "list", "--format=freeze", silent=True)
    return {line.partition("==")[0] for line in str(listed).splitlines() if "==" in line}


@nox.session
def lint(session: nox.Session) -> None:
    """Style and simple mistakes."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly: the core, then each plugin."""
    install_all(session, "mypy>=1.15", "matplotlib>=3.8")
    session.run("mypy", "forestgaps_core")
    for name in PLUGINS:
        package = name.replace("-", "_")
        session.run("mypy", f"plugins/{name}/{package}", env={"MYPYPATH": os.pathsep.join([".", f"plugins/{name}"])})


@nox.session
def imports(session: nox.Session) -> None:
    """Who may import whom; reads the sources, so nothing of the project is installed."""
    session.install("import-linter>=2")
    folders = [".", *(f"plugins/{name}" for name in PLUGINS)]
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(folders)})


@nox.session
def demo(session: nox.Session) -> None:
    """The first run: train on a simulated landscape, test, map a GeoTIFF, draw a picture. Leaves a folder `demo`."""
    install_all(session, "matplotlib>=3.8")
    folder = ROOT / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session.run("forestgaps", "train", "--out", "demo/run")
    session.run("forestgaps", "test", "demo/run")
    session.run("forestgaps", "simulate", "demo/landscape", "--seed", "2026", "--size", "384")
    session.run("forestgaps", "predict", "demo/run", "demo/landscape/dsm.tif", "--out", "demo/maps")
    session.run("python", "docs/examples/picture.py", "demo/landscape", "demo/maps", "demo/picture.png")
    session.log("Look at demo/picture.png; open demo/maps/gaps.tif in a GIS.")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, with broken links as errors."""
    install_all(session, "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27", "mkdocs>=1.6,<2")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
