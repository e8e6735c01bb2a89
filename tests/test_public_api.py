"""The comparison of the public API with the last release reports what breaks users, and only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("griffe")
SCRIPT = Path(__file__).parent.parent / ".ci" / "public_api.py"
OLD = """
def load_raster(path, band=1): ...
def write_raster(path, values): ...
def _hidden(path): ...
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def compare(folder: Path) -> tuple[int, str]:
    line = [sys.executable, str(SCRIPT), "--root", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def repository(tmp_path):
    """A core with one public and one other module, and its page."""
    root = tmp_path / "repository"
    package, pages = root / "forestgaps_core", root / "docs" / "reference" / "modules"
    for folder in (package, pages):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "rasters.py").write_text(OLD)
    (package / "other.py").write_text(OLD)
    (pages / "forestgaps_core.md").write_text("::: forestgaps_core.rasters\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_before_the_first_release_there_is_nothing_to_compare(repository):
    assert compare(repository) == (0, "There is no release yet: nothing to compare with.\n")


def test_additions_and_private_changes_break_nobody(repository):
    git(repository, "tag", "v0.1.0")
    (repository / "forestgaps_core" / "rasters.py").write_text(
        OLD.replace("band=1", "band=1, *, scale=1.0").replace("def _hidden(path)", "def add(path)")
    )
    assert compare(repository) == (0, "0 changes since v0.1.0 break users\n")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("def write_raster(path, values)", "def save_raster(path, values)", "write_raster: Public object was removed"),
        ("path, values", "path, values, crs", "write_raster(crs): Parameter was added as required"),
        ("path, band=1", "path", "load_raster(band): Parameter was removed"),
    ],
)
def test_a_change_that_breaks_users_is_named(repository, old, new, sentence):
    git(repository, "tag", "v0.1.0")
    (repository / "forestgaps_core" / "rasters.py").write_text(OLD.replace(old, new))
    status, output = compare(repository)
    assert status == 1
    assert sentence in output
    assert "1 changes since v0.1.0 break users" in output
