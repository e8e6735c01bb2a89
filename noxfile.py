"""Everything the project can do to itself. `nox -l` lists it; environments are made of the versions in requirements/tested.txt."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import nox

nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").is_file())
TESTED = Path("requirements", "tested.txt")
CONSTRAINTS = ("-c", str(TESTED))
STANDARD = ("-c", "constraints.txt", "-r", "requirements/standard.txt")  # as in the README
NEWEST = ("-c", "constraints.txt")  # of everything but torch; to find versions, not to test with
TEST_TOOLS = ("pytest>=9", "pytest-timeout>=2.4", "hypothesis>=6.100", "setuptools>=68", "hatchling>=1.25", "editables>=0.5")
# References that the tests compare components with; each test that needs one is skipped without it.
PEERS = (
    *("numpy", "scipy", "scikit-learn", "torchmetrics", "monai", "matplotlib", "pillow", "ruff>=0.12", "mypy>=1.15"),
    *("geopandas", "shapely", "lxml", "playwright", "powerlaw", "pystac-core", "pystac-ext-mlm", "jsonschema"),
    *("nbclient", "ipykernel"),
)
RUNNERS = ("coverage>=7.10", "pytest-cov>=7", "pytest-randomly>=4", "pytest-xdist>=3.6")
LINTERS = ("ruff>=0.12", "import-linter>=2")
DOCS = ("mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27", "mkdocs>=1.6,<2")


# The environment of most sessions: each would need nearly the same, and installing takes minutes.
PROJECT = ROOT / ".nox" / "project"
BIN = PROJECT / ("Scripts" if os.name == "nt" else "bin")
shared = nox.session(python=False)  # without an environment of its own


def install_project(session: nox.Session) -> None:
    """Install the core, every plugin with all extras, editable, and all tools; again only when one of them changes."""
    tools = (*TEST_TOOLS, *PEERS, *RUNNERS, *LINTERS, *DOCS)
    projects = [Path("pyproject.toml"), *(Path("plugins", name, "pyproject.toml") for name in PLUGINS)]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in [TESTED, *projects]) + repr(tools).encode()).hexdigest()
    session.env["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"]])
    installed = PROJECT / "installed"
    if installed.is_file() and installed.read_text() == wanted:
        return
    session.run(sys.executable, "-m", "venv", str(PROJECT))
    install = (str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *CONSTRAINTS)
    session.run(*install, "hatchling>=1.25", "editables>=0.5")
    session.run(*install, "--no-build-isolation", *all_packages(), *tools)  # else each is built in a new environment
    installed.write_text(wanted)


def all_packages() -> list[str]:
    return ["-e", ".", *(part for name in PLUGINS for part in ("-e", with_extras(name)))]


def run(session: nox.Session, program: str, *arguments: str, **options: Any) -> None:
    """Run a program of the project's environment."""
    session.run(str(BIN / program), *arguments, **options)


@shared
def tests(session: nox.Session) -> None:
    """All quick tests, in another order each time, as many at once as there are cores; `-- --numprocesses=0` for one at a time."""
    install_project(session)
    prepare_to_test(session)
    run(session, "pytest", *AT_ONCE, *session.posargs)


@shared
def coverage(session: nox.Session) -> None:
    """The same with branch coverage, that of the processes they start included."""
    install_project(session)
    prepare_to_test(session)
    run(session, "pytest", *AT_ONCE, "--cov", "--cov-report=term:skip-covered", *session.posargs)


AT_ONCE = ("--numprocesses=auto", "--dist=worksteal")


def prepare_to_test(session: nox.Session) -> None:
    session.env["OMP_WAIT_POLICY"] = "PASSIVE"  # threads of processes that share cores would wait in each other's way
    session.env["OMP_NUM_THREADS"] = "1"  # of each process: there is one for each core
    data = os.environ.get("FORESTGAPS_DATA")
    if not data and (ROOT.parent / "shared" / "data").is_dir():
        session.env["FORESTGAPS_DATA"] = str(ROOT.parent / "shared" / "data")


@shared
def slow(session: nox.Session) -> None:
    """The tests left out of `tests` because they take long and seldom fail alone: 10 minutes."""
    install_project(session)
    prepare_to_test(session)
    run(session, "pytest", *AT_ONCE, "-m", "slow", *session.posargs, env={"FORESTGAPS_SLOW": "1"})


@shared
def nightly(session: nox.Session) -> None:
    """All tests, those marked slow and nightly too, and those that break things on purpose at full size: hours."""
    install_project(session)
    prepare_to_test(session)
    run(session, "pytest", "--durations=20", *NO_WATCH, *(session.posargs or ["tests", "plugins"]), env=FULL_SIZE)


FULL_SIZE = {"FORESTGAPS_FUZZ_CASES": "10000", "FORESTGAPS_FAULTS": "all", "FORESTGAPS_KILLS": "200", "PYTEST_TIMEOUT": "14400"}
NO_WATCH = ("-o", "faulthandler_timeout=0")  # it ends a test after 10 minutes; at full size, tests take hours


@shared
def fuzz(session: nox.Session) -> None:
    """Ten thousand new cases of bad input; FORESTGAPS_FUZZ_CASES for another number."""
    install_project(session)
    session.env["FORESTGAPS_FUZZ_CASES"] = os.environ.get("FORESTGAPS_FUZZ_CASES", "10000")
    session.env["OMP_NUM_THREADS"] = "1"
    session.env["PYTEST_TIMEOUT"] = FULL_SIZE["PYTEST_TIMEOUT"]
    run(session, "pytest", "-q", *NO_WATCH, "tests/fuzz", *session.posargs)


@shared
def alone(session: nox.Session) -> None:
    """Each package in an environment of only what it declares: all its modules, its contracts; with `-- --tests`, its tests."""
    install_project(session)
    prepare_to_test(session)
    names = [word for word in session.posargs if not word.startswith("-")] or ["forestgaps-core", *PLUGINS]
    options = [word for word in session.posargs if word.startswith("-")]
    run(session, "python", ".ci/alone.py", str(PROJECT / "alone"), *options, *names)


def editable(name: str) -> list[str]:
    """A plugin with all its extras, and those of the project's own packages that it requires, as arguments of pip."""
    project = project_of(ROOT / "plugins" / name)
    optional = project.get("optional-dependencies", {})
    needed = {re.split(r"[^\w-]", line)[0] for line in chain(project["dependencies"], *optional.values())}
    own = sorted(needed & set(PLUGINS) - {name})
    return [part for folder in [with_extras(name), *(f"plugins/{own_name}" for own_name in own)] for part in ("-e", folder)]


def project_of(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def with_extras(name: str) -> str:
    optional = project_of(ROOT / "plugins" / name).get("optional-dependencies", {})
    return f"plugins/{name}[{','.join(optional)}]" if optional else f"plugins/{name}"


@shared
def lint(session: nox.Session) -> None:
    """Style and simple mistakes."""
    install_project(session)
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@shared
def types(session: nox.Session) -> None:
    """Types, strictly: the core and every plugin."""
    install_project(session)
    folders = [".", *(f"plugins/{name}" for name in PLUGINS)]
    packages = [f"plugins/{name}/{name.replace('-', '_')}" for name in PLUGINS]
    run(session, "mypy", "forestgaps_core", *packages, env={"MYPYPATH": os.pathsep.join(folders)})


@shared
def imports(session: nox.Session) -> None:
    """Who may import whom."""
    install_project(session)
    folders = [".", *(f"plugins/{name}" for name in PLUGINS)]
    run(session, "lint-imports", env={"PYTHONPATH": os.pathsep.join(folders)})


@shared
def api(session: nox.Session) -> None:
    """Changes of the public API since the last release that break users; `-- --against TAG` for another release."""
    install_project(session)
    run(session, "python", ".ci/public_api.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The first run, with the standard packages only: train on a simulated landscape, test, map a GeoTIFF, draw a picture.

    Leaves a folder `demo`. Installs by the line of the README, so with the newest versions that the packages admit.
    """
    session.install(*STANDARD)
    session.install(*NEWEST, "matplotlib")  # for the picture
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
def bench(session: nox.Session) -> None:
    """All ratios, goal and result, in one table, with JSON in bench/; with `-- --full` large and often, for hours."""
    session.install(*CONSTRAINTS, *all_packages())
    session.install(*NEWEST, "-r", "benchmarks/requirements.txt")  # peers; they may want other versions than the tested ones
    session.run("python", "benchmarks/bench.py", *session.posargs)


@shared
def docs(session: nox.Session) -> None:
    """The documentation, with broken links as errors."""
    install_project(session)
    run(session, "mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


# --- dependencies ---------------------------------------------------------------------------------------------------


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/tested.txt anew: the newest version of everything that the ranges admit. Then run the tests."""
    everything = [part for name in PLUGINS for part in editable(name)]
    tools = (*TEST_TOOLS, *PEERS, *RUNNERS, *LINTERS, *DOCS, "mypy>=1.15", *AUDITORS)
    session.install(*NEWEST, "-e", ".", *everything, *tools)
    session.run("python", "-m", "pip", "check")
    listed = str(session.run("python", "-m", "pip", "list", "--format=freeze", "--exclude-editable", silent=True)).splitlines()
    pins = sorted({line.partition("+")[0] for line in listed if "==" in line and not line.startswith("pip==")}, key=str.lower)
    TESTED.write_text("\n".join([*LOCK_HEADER, *pins, ""]), encoding="utf-8")
    session.log(f"{len(pins)} versions written to {TESTED}; now: nox -s tests")


LOCK_HEADER = (
    "# The tested set: the exact version of everything the tests, the checks and the documentation ran with.",
    "# Written by `nox -s lock` (Python 3.11, Linux); every other session takes its versions from here.",
)
AUDITORS = ("pip-audit>=2.7", "cyclonedx-bom>=7")


@nox.session
def oldest(session: nox.Session) -> None:
    """All tests with the oldest versions the packages say they work with; torch as in constraints.txt, see docs/promises."""
    bounds = Path(session.create_tmp(), "oldest.txt")
    bounds.write_text("\n".join([*lowest_versions(), *Path("constraints.txt").read_text().splitlines(), ""]), encoding="utf-8")
    everything = [part for name in PLUGINS for part in editable(name)]
    session.install("-c", str(bounds), "-e", ".", *everything, *TEST_TOOLS, *RUNNERS, *OLD_PEERS)
    session.run("python", "-m", "pip", "check")
    prepare_to_test(session)
    session.run("python", "-m", "pytest", "-q", *AT_ONCE, *OLD_WARNINGS, *(session.posargs or ["tests", "plugins"]))


OLD_WARNINGS = ("-W", "ignore::DeprecationWarning")  # of old packages about the new ones beneath them
OLD_PEERS = ("scikit-learn", "geopandas", "ruff>=0.12", "mypy>=1.15", "pystac-core", "pystac-ext-mlm", "jsonschema")


def dependencies() -> Iterator[tuple[str, str]]:
    """Each package of others that one of the project's packages says it needs, with what it says: `numpy`, `numpy>=1.26`."""
    for project in map(project_of, [ROOT, *(ROOT / "plugins" / name for name in PLUGINS)]):
        for line in chain(project["dependencies"], *project.get("optional-dependencies", {}).values()):
            name = re.split(r"[^\w-]", line)[0]
            if not name.startswith("forestgaps-"):
                yield name, line


def lowest_versions() -> list[str]:
    """`numpy==1.26` for `numpy>=1.26`, of everything but torch."""
    return sorted({f"{name}=={line.partition('>=')[2].split(',')[0]}" for name, line in dependencies() if name != "torch"})


@nox.session
def audit(session: nox.Session) -> None:
    """Known weaknesses of the tested set, where the advisory service can be reached."""
    session.install(*CONSTRAINTS, "pip-audit>=2.7")
    report = Path(session.create_tmp(), "audit.json")
    report.unlink(missing_ok=True)
    command = ("pip-audit", "--requirement", str(TESTED), "--no-deps", "--disable-pip", "--format=json", f"--output={report}")
    output = str(session.run(*command, "--progress-spinner=off", "--timeout=10", success_codes=[0, 1], silent=True))
    rows = json.loads(report.read_text(encoding="utf-8"))["dependencies"] if report.is_file() else []
    asked = [row for row in rows if "skip_reason" not in row]
    unreachable = re.search(r"connect|timed? ?out|resolve|unreachable|proxy|service", output, re.I)
    if not asked and (rows or unreachable):  # a mirror without advisories answers that it knows no package at all
        session.skip("the advisory service cannot be reached from here: nothing was audited")
    if not asked:
        session.error(output[-2000:])
    session.log(f"{len(asked)} of {len(rows)} packages audited; not known to the service: {len(rows) - len(asked)}")
    found = [(row, weakness) for row in asked for weakness in row["vulns"]]
    for row, weakness in found:
        fixed = ", ".join(weakness["fix_versions"]) or "no version yet"
        session.log(f"{row['name']} {row['version']}: {weakness['id']}, fixed in {fixed}")
    if found:
        session.error(f"{len(found)} known weaknesses in {TESTED}")


@nox.session
def sbom(session: nox.Session) -> None:
    """The bill of materials of a release: everything that `forestgaps-core` and all plugins install, as CycloneDX in dist/."""
    session.install(*CONSTRAINTS, "cyclonedx-bom>=7")
    place = Path(session.create_tmp(), "release")
    session.run("python", "-m", "venv", "--clear", str(place))
    python = next(path for path in (place / "bin" / "python", place / "Scripts" / "python.exe") if path.exists())
    parts = [".", *(f"./{with_extras(name)}" for name in PLUGINS)]
    session.run(str(python), "-m", "pip", "install", "--quiet", *CONSTRAINTS, *parts, external=True)
    version = project_of(ROOT)["version"]
    (ROOT / "dist").mkdir(exist_ok=True)
    file = ROOT / "dist" / f"forestgaps-{version}.cdx.json"
    about = ("--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON", "--output-file", str(file))
    session.run("cyclonedx-py", "environment", *about, str(python))
    listed = {part["name"].lower().replace("_", "-"): part["version"] for part in json.loads(file.read_text())["components"]}
    needed = {*PLUGINS, *(name for name, _ in dependencies())}
    if missing := sorted(name for name in needed if name not in listed):
        session.error(f"{file} lacks {', '.join(missing)}")
    session.log(f"{file}: {len(listed)} packages")
