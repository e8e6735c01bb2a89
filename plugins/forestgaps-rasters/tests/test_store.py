from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from forestgaps_core.errors import DataError
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.index import LayerFile, map_layer, read_index


@pytest.fixture
def prepared(site, tmp_path) -> Path:
    prepare_sites(
        [Site(name="ridge", folder=site("ridge"), validation="south 0.3")], tmp_path / "out", PrepareOptions(tile=32, buffer_m=5)
    )
    return tmp_path / "out"


def test_a_layer_is_a_plain_array_that_is_mapped(tmp_path) -> None:
    (tmp_path / "ridge").mkdir()
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    with LayerFile(tmp_path / "ridge" / "dsm.npy", 4, 3) as file:
        file.write(values[:3])
        file.write(values[3:])
    plane = map_layer(tmp_path, "ridge", "dsm")
    assert isinstance(plane, np.memmap)
    assert np.array_equal(plane, values)


def test_what_is_no_prepared_folder_is_told_so(tmp_path) -> None:
    with pytest.raises(DataError, match=r"is no prepared folder .*`forestgaps prepare` makes one"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda folder: (folder / "index.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "index.json").write_text("[]"), "format None"),
        (lambda folder: changed(folder, '"format": 2', '"format": 99'), "format 99, this version reads 2"),
        (lambda folder: changed(folder, '"buffer_m"', '"guard"'), "unknown key"),
        (lambda folder: changed(folder, '"rows": 90', '"rows": 91'), "dsm.npy: does not fit"),
        (lambda folder: changed(folder, '"columns": 70', '"columns": 7'), "blocks of site 'ridge' do not fit"),
        (lambda folder: shutil.rmtree(folder / "ridge"), "dsm.npy: cannot be read"),
        (lambda folder: (folder / "ridge" / "height.npy").write_bytes(b""), "height.npy: cannot be read"),
        (lambda folder: cut_short(folder / "ridge" / "height.npy"), "height.npy: cannot be read"),
    ],
)
def test_a_damaged_folder_is_told_so(prepared, damage, match) -> None:
    damage(prepared)
    with pytest.raises(DataError, match=match):
        read_index(prepared)


def changed(folder: Path, old: str, new: str) -> None:
    text = (folder / "index.json").read_text()
    assert json.loads(text)
    (folder / "index.json").write_text(re.sub(old + r"\b" if old[-1].isdigit() else old, new, text, count=1))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])
