"""What `importlib.metadata` finds, and the cases that it and this reader must not differ in."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile

import pytest

from forestgaps_core.plugins import entry_points as module
from forestgaps_core.plugins.entry_points import (
    EntryPoint,
    parse_entry_points,
    parse_headers,
    read_entry_points,
    read_folders,
    read_metadata,
)
from forestgaps_core.plugins.loading import GROUP

METADATA = (
    "Metadata-Version: 2.4\nName: T_Some.Name\nversion: 1.2\nRequires-Dist: one\nRequires-Dist: two;\n  extra == 'x'\n\nName: no\n"
)
ONE = EntryPoint("some", "t_some", "t-some-name", "1.2", ["one", "two; extra == 'x'"])


def write(folder, name="t_some_name-1.2.dist-info", metadata=METADATA, points="[forestgaps]\nsome = t_some\n", file="METADATA"):
    (folder / name).mkdir(parents=True)
    (folder / name / "entry_points.txt").write_text(points)
    if metadata is not None:
        (folder / name / file).write_text(metadata)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only folders that Python searches for packages."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(sys, "path", [*map(str, folders), str(tmp_path / "not_there")])
    monkeypatch.setattr(
        sys,
        "meta_path",
        [finder for finder in sys.meta_path if not hasattr(finder, "find_distributions") or finder is module.PathFinder],
    )
    # The package importlib_metadata, which libraries import, puts its own finder in the place of this.
    find = staticmethod(importlib.metadata.MetadataPathFinder.find_distributions)
    monkeypatch.setattr(module.PathFinder, "find_distributions", find, raising=False)
    return folders


def test_what_is_installed_here_is_what_importlib_metadata_finds():
    def key(point):
        return point.distribution, point.name

    assert sorted(read_folders(GROUP), key=key) == sorted(read_metadata(GROUP), key=key)


@pytest.mark.parametrize("group", ["forestgaps", "console_scripts", "gui"])
def test_the_entry_points_of_a_group_are_found(path, group):
    write(path[1], points="[console_scripts]\na = b:c\n\n[forestgaps]\n# none = none\nsome = t_some\n\n[empty]\n")
    found = [(point.name, point.value) for point in read_entry_points(group)]
    assert found == [(point.name, point.value) for point in importlib.metadata.entry_points(group=group)]
    assert group != "forestgaps" or read_entry_points(group) == [ONE]


def test_the_first_distribution_of_a_name_counts(path):
    write(path[0], "T_Some_Name-0.9.dist-info", METADATA.replace("1.2", "0.9"), "[other]\na = b\n")
    write(path[1])
    assert read_entry_points(GROUP) == list(importlib.metadata.entry_points(group=GROUP)) == []


def test_metadata_that_are_missing_leave_the_name_of_the_folder(path):
    write(path[0], metadata=None)
    write(path[1], "~_left-1.0.dist-info")
    assert [(point.distribution, point.version) for point in read_entry_points(GROUP)] == [("t-some-name", "?"), ("~-left", "1.2")]


@pytest.mark.parametrize("form", ["egg-info", "egg", "archive", "finder"])
def test_other_forms_are_read_by_importlib_metadata(path, form, monkeypatch):
    if form == "egg-info":
        write(path[0], "t_some_name.egg-info", METADATA, file="PKG-INFO")
        (path[0] / "t_some_name.egg-info" / "requires.txt").write_text("one\n")
    elif form == "egg":
        egg = path[0].parent / "t_some_name.egg"
        write(egg, "EGG-INFO", METADATA, file="PKG-INFO")
        monkeypatch.setattr(sys, "path", [*sys.path, str(egg)])
    elif form == "archive":
        write(path[0])
        monkeypatch.setattr(sys, "path", [str(path[0].parent / "packages.zip")])
        with zipfile.ZipFile(sys.path[0], "w") as archive:
            for file in path[0].rglob("*"):
                archive.write(file, file.relative_to(path[0]))
    else:
        write(path[0])
        place = path[0] / "t_some_name-1.2.dist-info"
        monkeypatch.setattr(sys, "path", [])

        class Finder(importlib.metadata.DistributionFinder):
            def find_spec(self, name, path=None, target=None):
                return None

            def find_distributions(self, context=None):
                return [importlib.metadata.PathDistribution(place)]

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    (point,) = read_entry_points(GROUP)
    assert (point.name, point.value, point.distribution, point.version) == ("some", "t_some", "t-some-name", "1.2")
    assert point.requires[0] == "one"


def test_an_entry_point_loads_a_module_or_something_in_it():
    import os.path

    assert EntryPoint("a", "os.path", "x").load() is os.path
    assert EntryPoint("a", "os : path.join [extra]", "x").load() is os.path.join
    with pytest.raises(AttributeError):
        EntryPoint("a", "os:nothing_there", "x").load()


def test_files_in_any_state_are_read():
    assert list(parse_entry_points("forestgaps\n[forestgaps\n= \n", GROUP)) == []
    assert parse_headers(" begins with a continuation\nno colon") == {" begins with a continuation": [""], "no colon": [""]}
