"""Installed packages that discovery sees only in part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forestgaps_core.plugins.installations import find_damaged_installations, is_similar_group
from forestgaps_core.plugins.registry import Plugins

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: forestgaps-core\n"
MODULE = "from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {}\n"


def information(folder: Path, stem: str, *, metadata: str = "", points: str = "", record: str | None = "") -> Path:
    made = folder / f"{stem}.dist-info"
    made.mkdir(parents=True)
    for name, text in (("METADATA", metadata), ("entry_points.txt", points), ("RECORD", record)):
        if text or (name == "RECORD" and text is not None):
            (made / name).write_text(str(text))
    return made


@pytest.mark.parametrize(
    "group",
    [
        "forestgap",
        "forestgaps.plugins",
        "forestgaps-core",
        "forestgaps_core",
        "Forestgaps",
        "forest_gaps",
        "forestgasp",
        "foresgaps",
    ],
)
def test_a_group_with_a_typo_is_reported(tmp_path, group):
    metadata = METADATA.format(name="t-typo", version="1.2")
    information(tmp_path, "t_typo-1.2", metadata=metadata, points=f"[{group}]\nt-typo = t_typo\n")
    (sentence,) = find_damaged_installations([str(tmp_path)])
    assert (
        f"t-typo 1.2 has entry points in the group {group!r}, which is not read; the group of plugins is 'forestgaps'" in sentence
    )


@pytest.mark.parametrize("group", ["forestgaps", "console_scripts", "pytest11", "forestry", "mkdocs.plugins", "gaps"])
def test_other_groups_are_left_alone(group):
    assert group == "forestgaps" or not is_similar_group(group)


def test_a_whole_package_is_not_reported(tmp_path):
    (tmp_path / "t_whole.py").write_text(MODULE)
    information(
        tmp_path,
        "t_whole-1.0",
        metadata=METADATA.format(name="t-whole", version="1.0"),
        points="[forestgaps]\nt-whole = t_whole\n",
        record="t_whole.py,sha256=x,10\nt_whole-1.0.dist-info/METADATA,,\n__pycache__/t_whole.cpython-311.pyc,,\n",
    )
    assert find_damaged_installations([str(tmp_path), str(tmp_path), str(tmp_path / "nowhere"), str(tmp_path / "t_whole.py")]) == []


EXTRAS = METADATA.format(name="canopy-extras", version="0.3.1")


@pytest.mark.parametrize(
    ("stem", "files", "words"),
    [
        ("forestgaps_losses-0.1.0", {}, "pip install --force-reinstall forestgaps-losses==0.1.0"),
        ("canopy_extras-0.3.1", {"points": "[forestgaps]\na = b\n"}, "canopy-extras is not seen as installed"),
        (
            "canopy_extras-0.3.1",
            {"metadata": EXTRAS, "record": None},
            "has no RECORD",
        ),
        (
            "canopy_extras-0.3.1",
            {"metadata": EXTRAS, "record": "canopy.py,,\nREADME,,\n"},
            "2 of its 2 files are missing, such as canopy.py",
        ),
        ("~orestgaps_losses-0.1.0", {"metadata": METADATA.format(name="forestgaps-losses", version="0.1.0")}, "remove the folder"),
        ("~anopy_extras-0.1.0", {}, "what pip left of a package"),
    ],
)
def test_what_an_interrupted_uninstall_leaves_is_reported(tmp_path, stem, files, words):
    information(tmp_path, stem, **files)
    (sentence,) = find_damaged_installations([str(tmp_path)])
    assert words in sentence


def test_a_package_that_is_there_twice_is_reported(tmp_path):
    for version in ("0.1.0", "0.2.0"):
        information(tmp_path, f"t_twice-{version}", metadata=METADATA.format(name="t-twice", version=version))
    assert any("t-twice is installed twice" in sentence for sentence in find_damaged_installations([str(tmp_path)]))


def test_packages_of_others_without_a_record_are_not_our_business(tmp_path):
    information(tmp_path, "numpy-2.0", metadata="Metadata-Version: 2.1\nName: numpy\nVersion: 2.0\n", record=None)
    assert find_damaged_installations([str(tmp_path)]) == []


# --- discovery does not fall over them ------------------------------------------------------------------------------


@pytest.fixture
def halves(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "t_half.py").write_text(MODULE)
    points = "[forestgaps]\nt-half = t_half\n"
    information(tmp_path, "t_half-1.0", points=points)  # without METADATA
    information(tmp_path, "~_half-0.9", metadata=METADATA.format(name="t-half", version="0.9"), points=points)
    (tmp_path / "t_good.py").write_text(MODULE)
    metadata = METADATA.format(name="t-good", version="1.0")
    information(tmp_path, "t_good-1.0", metadata=metadata, points="[forestgaps]\nt-good = t_good\n")
    information(tmp_path, "~_good-0.9", metadata=metadata, points="[forestgaps]\nt-good = t_good\n")
    yield tmp_path
    for name in ("t_half", "t_good"):
        sys.modules.pop(name, None)


def test_half_a_package_is_a_record_and_what_pip_left_is_not(halves):
    records = {
        plugin.distribution: plugin for plugin in Plugins.discover().records if "half" in str(plugin) or "good" in str(plugin)
    }
    assert records.keys() == {"t-half", "t-good"}
    assert records["t-half"].failed == "metadata"
    assert "reinstall the package" in records["t-half"].reason
    assert records["t-good"].failed is None


def test_the_command_line_reports_them(halves):
    line = [sys.executable, "-m", "forestgaps_core", "plugins", "list"]
    paths = {"PYTHONPATH": ":".join([str(halves), *filter(None, sys.path)]), "PATH": "", "COLUMNS": "500"}
    done = subprocess.run(line, capture_output=True, text=True, env=paths, check=True)
    assert "t-half ?  BROKEN (metadata): " in done.stdout
    assert done.stdout.count("NOTE: ") >= 3
    assert f"NOTE: {halves / '~_good-0.9.dist-info'} is what pip left of a package" in done.stdout
