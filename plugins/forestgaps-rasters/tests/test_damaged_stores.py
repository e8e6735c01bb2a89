"""Whatever is wrong with a prepared folder, it is read or refused in a sentence; nothing outside it is read, nothing executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shlex
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import cut_off, moved, wrong_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import DataError, ForestgapsError
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.index import read_index
from forestgaps_rasters.prepared.verification import verify_folder
from forestgaps_rasters.training.data import Rasters

CASES = int(os.environ.get("FORESTGAPS_FUZZ_CASES", "200"))
FUZZED = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 15, 63, 64, 10**6, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "../ridge", "..", "/etc", "a/b", "ridge", "a" * 10_000, "\0", "\x1b[2J"),
    *([], {}, [[]], [None], {"train": []}, [1, 2, 3, 4, 5, 6], "EPSG:4326", "not a crs"),
]


@pytest.fixture
def whole(site, tmp_path) -> Path:
    sites = [Site(name=name, folder=site(name), validation="south 0.3") for name in ("ridge", "valley")]
    prepare_sites(sites, tmp_path / "whole", PrepareOptions(tile=32, buffer_m=5, skip_checks=True))
    return tmp_path / "whole"


def used(folder: Path) -> None:
    """What a training does with a folder."""
    data = Rasters(folder=folder, samples_per_epoch=2).build()
    for source in (data.train, data.validation, data.test):
        for index in range(min(len(source), 2)):
            source.read(index, 7 * index)


def readable_or_told(folder: Path) -> bool:
    sentence = ""
    try:
        used(folder)
    except ForestgapsError as error:
        sentence = str(error)
    assert not sentence or str(folder) in sentence, f"does not name the folder: {sentence}"
    assert len(sentence) < 3000
    return not sentence


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [above, *(place for key, value in inside for place in places(value, (*above, key)))]


@st.composite
def wrong_trees(draw: st.DrawFn, tree: Any) -> Any:
    """A JSON tree in which one to three values are others, missing, there twice, or deeper."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(tree)[1:] or [()]))
        if not place:
            break
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        what = draw(st.sampled_from(["other", "other", "other", "missing", "twice", "deeper", "added", "foreign"]))
        if what == "other":
            parent[place[-1]] = deepcopy(draw(st.sampled_from(WRONG)))
        elif what == "missing":
            del parent[place[-1]]
        elif what == "deeper":
            parent[place[-1]] = [parent[place[-1]]]
        elif what == "twice" and isinstance(parent, list):
            parent.append(parent[place[-1]])
        elif what == "foreign":
            other = draw(st.sampled_from(places(tree)))
            value = tree
            for key in other:
                value = value[key]
            parent[place[-1]] = json.loads(json.dumps(value))
        elif isinstance(parent, dict):
            parent[draw(st.sampled_from(["x", "rows", "name", "__class__", "format", ""]))] = deepcopy(draw(st.sampled_from(WRONG)))
    return tree


@FUZZED
@given(data=st.data())
def test_a_damaged_index(whole, data) -> None:
    copy = whole.parent / "copy"
    if not copy.exists():
        shutil.copytree(whole, copy)
    tree = data.draw(wrong_trees(json.loads((whole / "index.json").read_text())))
    (copy / "index.json").write_text(json.dumps(tree))
    readable_or_told(copy)


@settings(parent=FUZZED, max_examples=max(CASES // 4, 50))
@given(data=st.data())
def test_a_damaged_text_of_the_index(whole, data) -> None:
    copy = whole.parent / "copy"
    if not copy.exists():
        shutil.copytree(whole, copy)
    content = (whole / "index.json").read_bytes()
    (copy / "index.json").write_bytes(data.draw(data.draw(st.sampled_from([wrong_bytes, cut_off, moved]))(content)))
    readable_or_told(copy)


@settings(parent=FUZZED, max_examples=max(CASES // 4, 50))
@given(data=st.data())
def test_a_damaged_layer(whole, data) -> None:
    copy = whole.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    path = copy / "ridge" / data.draw(st.sampled_from(["dsm.npy", "height.npy"]))
    content = path.read_bytes()
    damaged = data.draw(data.draw(st.sampled_from([wrong_bytes, cut_off, moved]))(content))
    path.write_bytes(damaged)
    readable_or_told(copy)
    if damaged != content:
        with pytest.raises(DataError, match=path.name):
            verify_folder(copy)


def test_every_flipped_bit_of_a_layer_is_found(whole) -> None:
    assert verify_folder(whole).layers == 4
    path = whole / "valley" / "height.npy"
    content = path.read_bytes()
    random = np.random.default_rng(3)
    for place, bit in zip(random.integers(0, len(content), 60), random.integers(0, 8, 60), strict=True):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"valley/height\.npy: (is damaged, it does not hold what was written|cannot be read)"):
            verify_folder(whole)


def test_a_folder_of_the_format_without_checksums_is_read(whole) -> None:
    table = json.loads((whole / "index.json").read_text())
    for site in table["sites"]:
        del site["sums"]
    (whole / "index.json").write_text(json.dumps(table | {"format": 1}))
    used(whole)
    assert (verify_folder(whole).layers, verify_folder(whole).unknown) == (0, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_number_that_is_none_never_reaches_a_batch(whole, value) -> None:
    path = whole / "ridge" / "dsm.npy"
    plane = np.load(path)
    plane[np.isfinite(plane)] = value
    np.save(path, plane)
    with pytest.raises(DataError, match=r"site ridge, rows \d+-\d+, columns .*its layers are damaged; to see which: ") as refused:
        used(whole)
    program, *arguments = shlex.split(str(refused.value).partition("to see which: ")[2])
    assert (program, *arguments[:-1]) == ("forestgaps", "prepare", "--check")
    with pytest.raises(DataError, match=r"dsm\.npy"):
        verify_folder(Path(arguments[-1]))


def test_one_wrong_value_in_a_tile_is_told_with_its_place(whole) -> None:
    plane = np.load(whole / "ridge" / "dsm.npy", mmap_mode="r+")
    window = read_index(whole).sites[0].blocks["validation"][0]
    row, column = window.row + 3, window.column + 2
    plane[row, column] = np.inf
    heights = np.load(whole / "ridge" / "height.npy", mmap_mode="r+")
    heights[row, column] = 4.0
    plane.flush(), heights.flush()
    validation = Rasters(folder=whole).build().validation
    with pytest.raises(DataError, match="site ridge, rows"):
        [validation.read(index, 0) for index in range(len(validation))]


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def test_nothing_in_a_layer_is_executed(whole, monkeypatch) -> None:
    monkeypatch.chdir(whole.parent)
    path = whole / "ridge" / "dsm.npy"
    objects = io.BytesIO()
    np.save(objects, np.array([[Payload()]], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    for content in (pickle.dumps(Payload()), objects.getvalue(), archive.getvalue(), b"\x93NUMPY\x01\x00v\x00" + b"(" * 118):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"dsm\.npy: cannot be read"):
            used(whole)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("kind", "shape", "fortran"),
    [
        ("<f4", (90, 70), True),
        ("<f8", (90, 70), False),
        (">f4", (90, 70), False),
        ("<f4", (2**40, 2**40), False),
        ("<f4", (0, 0), False),
        ("<f4", (-90, -70), False),
        ("<f4", (6300,), False),
        ("<f4", (90, 70, 1), False),
        ("|V4", (90, 70), False),
    ],
)
def test_a_header_that_lies_is_refused(whole, kind, shape, fortran) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": fortran, "shape": shape})
    (whole / "ridge" / "height.npy").write_bytes(file.getvalue() + bytes(4 * 90 * 70))
    with pytest.raises(DataError, match=r"height\.npy: cannot be read"):
        read_index(whole)


@pytest.mark.parametrize("name", ["../outside", "/outside", "..", ".", "a/b", "", "a" * 300, "ridge\0", "ridge\n"])
def test_a_name_does_not_lead_out_of_the_folder(whole, name) -> None:
    shutil.copytree(whole / "ridge", whole.parent / "outside")
    table = json.loads((whole / "index.json").read_text())
    table["sites"][0]["name"] = name
    (whole / "index.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"index\.json: is damaged"):
        read_index(whole)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 2, "sites": ' + "[" * 100_000, '{"format": ' + "9" * 10_000 + "}"])
def test_an_index_of_absurd_depth_or_length_is_refused(whole, text) -> None:
    (whole / "index.json").write_text(text)
    with pytest.raises(DataError, match="is damaged"):
        read_index(whole)


def test_what_is_no_file_is_not_waited_for(whole) -> None:
    for name in ("ridge/dsm.npy", "index.json"):
        (whole / name).unlink()
        os.mkfifo(whole / name)
        with pytest.raises(DataError, match=r"no such file|is missing"):
            read_index(whole)


def test_ground_for_two_parts_is_told(whole) -> None:
    table = json.loads((whole / "index.json").read_text())
    table["sites"][0]["blocks"]["train"] += table["sites"][0]["blocks"]["validation"]
    (whole / "index.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="site 'ridge' has the same ground for train and validation"):
        read_index(whole)
